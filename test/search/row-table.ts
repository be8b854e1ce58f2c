/** All worlds found, in the order found: a hash table over one growing array of rows. */
export class RowTable {
  private readonly stride: number
  private rows: Int32Array
  private slots: Int32Array
  private count = 0

  constructor(stride: number) {
    this.stride = stride
    this.rows = new Int32Array(stride * 1024)
    this.slots = new Int32Array(4096).fill(-1)
  }

  get size(): number {
    return this.count
  }

  /** Copies row `index` into `to`. */
  read(index: number, to: Int32Array): void {
    const at = index * this.stride
    for (let i = 0; i < this.stride; i += 1) to[i] = this.rows[at + i]!
  }

  /** The index of the row; -1 when it is not here. */
  find(row: Int32Array): number {
    return this.slots[this.slotOf(row)]!
  }

  /** The index of the row, which is added when it is not here: then `size` grows. */
  add(row: Int32Array): number {
    const slot = this.slotOf(row)
    const known = this.slots[slot]!
    if (known >= 0) return known
    const index = this.count
    if ((index + 1) * this.stride > this.rows.length) this.growRows()
    this.rows.set(row, index * this.stride)
    this.slots[slot] = index
    this.count += 1
    if (this.count * 2 > this.slots.length) this.growSlots()
    return index
  }

  private slotOf(row: Int32Array): number {
    const { rows, slots, stride } = this
    const mask = slots.length - 1
    for (let slot = hash(row, 0, stride) & mask; ; slot = (slot + 1) & mask) {
      const index = slots[slot]!
      if (index < 0) return slot
      const at = index * stride
      let same = true
      for (let i = 0; same && i < stride; i += 1) same = rows[at + i] === row[i]
      if (same) return slot
    }
  }

  private growRows(): void {
    const rows = new Int32Array(this.rows.length * 2)
    rows.set(this.rows)
    this.rows = rows
  }

  private growSlots(): void {
    const slots = new Int32Array(this.slots.length * 2).fill(-1)
    const mask = slots.length - 1
    for (let index = 0; index < this.count; index += 1) {
      let slot = hash(this.rows, index * this.stride, this.stride) & mask
      while (slots[slot]! >= 0) slot = (slot + 1) & mask
      slots[slot] = index
    }
    this.slots = slots
  }
}

function hash(rows: Int32Array, at: number, length: number): number {
  let h = 0x9e3779b9
  for (let i = 0; i < length; i += 1) {
    h = Math.imul(h ^ rows[at + i]!, 0x85ebca6b)
    h ^= h >>> 15
  }
  return (h ^ (h >>> 13)) >>> 0
}

/** 32-bit numbers, as many as come. */
export class IntList {
  private numbers = new Int32Array(1024)
  private used = 0

  get length(): number {
    return this.used
  }

  at(i: number): number {
    return this.numbers[i]!
  }

  push(number: number): void {
    if (this.used === this.numbers.length) {
      const more = new Int32Array(this.numbers.length * 2)
      more.set(this.numbers)
      this.numbers = more
    }
    this.numbers[this.used++] = number
  }
}

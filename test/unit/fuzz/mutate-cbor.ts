/** Changes to CBOR as a tree: what comes out is mostly well-formed, so that it passes the first checks and reaches the later ones. */
import { mutateBytes } from './mutate.ts'
import type { Random } from './random.ts'

interface Node {
  major: number
  /** Of a number its value, of the others ignored: lengths are made anew. */
  value: bigint
  data: Uint8Array
  items: Node[]
  /** Written in place of everything else. */
  raw?: Uint8Array
  /** Bytes of the head's argument; undefined: the shortest form. */
  width?: number
  /** Said in place of the true length. */
  lie?: bigint
}

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))

/** Items that a schema does not expect: other types, other forms, and things that CBOR knows and we do not. */
const STRANGERS: readonly Uint8Array[] = [
  'f97e00', // NaN
  'fb7ff8000000000000',
  'f97c00', // Infinity
  'fbfff0000000000000',
  'f98000', // -0
  'fb8000000000000000',
  'fb3ff0000000000000', // 1.0
  'f4',
  'f5',
  'f6',
  'f7', // undefined
  'f8ff', // unassigned simple value
  '00',
  '20',
  '1bffffffffffffffff',
  '1b0020000000000000', // 2^53
  '3bffffffffffffffff',
  '3b001fffffffffffff',
  'c249010000000000000000', // bignum
  'c11a514b67b0', // tagged date
  'd9d9f700', // self-described
  '40',
  '60',
  '80',
  'a0',
  'a10000',
  'a200000000', // one key twice
  'a2616100616101',
  'a1695f5f70726f746f5f5fa0', // __proto__
  '5f41004100ff', // indefinite lengths
  '7f61616161ff',
  '9fff',
  '9f00ff',
  'bfff',
  '63eda080', // a surrogate by itself
  '62c3c3',
  '61ff',
  '64f4908080',
  '1800', // not the shortest form
  '190000',
  '1a00000000',
  '1b0000000000000000',
  '5800',
  '9800',
  '9bffffffffffffffff', // lengths without what they announce
  '5bffffffffffffffff',
  '7b7fffffffffffffff',
  '9affffffff',
  '5affffffff',
  '9a7fffffff',
  'bbffffffffffffffff',
  'ff',
  '1c',
  'fc',
].map(hex)

const EDGES = [0n, 1n, 23n, 24n, 255n, 256n, 65_535n, 65_536n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n]

/** Reads what our encoders write (integers, strings, arrays, null); undefined for anything else. */
export function parseCbor(bytes: Uint8Array): Node | undefined {
  const buffer = Buffer.from(bytes)
  let at = 0
  const read = (): Node => {
    const first = buffer.readUInt8(at++)
    const major = first >> 5
    const info = first & 0x1f
    const node: Node = { major, value: BigInt(info), data: new Uint8Array(), items: [] }
    if (major === 7) return { ...node, raw: Uint8Array.of(first) }
    if (info > 27) throw new RangeError('a form that is not ours')
    if (info >= 24) {
      const size = 1 << (info - 24)
      node.value = BigInt(`0x${buffer.toString('hex', at, at + size)}`)
      at += size
    }
    if (major === 2 || major === 3) {
      node.data = new Uint8Array(buffer.subarray(at, (at += Number(node.value))))
    } else if (major === 4) {
      for (let left = Number(node.value); left > 0; left--) node.items.push(read())
    } else if (major > 4) throw new RangeError('a type that is not ours')
    return node
  }
  try {
    const node = read()
    return at === buffer.length ? node : undefined
  } catch (error) {
    if (error instanceof RangeError || error instanceof SyntaxError) return undefined
    throw error
  }
}

function head(major: number, value: bigint, width?: number): Buffer {
  const all = Buffer.alloc(8)
  all.writeBigUInt64BE(BigInt.asUintN(64, value))
  const least =
    value < 24n ? 0 : value < 2n ** 8n ? 1 : value < 2n ** 16n ? 2 : value < 2n ** 32n ? 4 : 8
  const size = Math.max(least, width ?? 0)
  const info = size === 0 ? Number(value) : 24 + Math.log2(size)
  return Buffer.concat([Buffer.of((major << 5) | info), all.subarray(8 - size)])
}

export function writeCbor(node: Node): Buffer {
  if (node.raw !== undefined) return Buffer.from(node.raw)
  const { major, data, items, width, lie } = node
  const length = major === 4 ? items.length : data.length
  const value = lie ?? (major < 2 ? node.value : BigInt(length))
  return Buffer.concat([head(major, value, width), data, ...items.map(writeCbor)])
}

function everyNode(root: Node): Node[] {
  const list = [root]
  for (let i = 0; i < list.length; i++) list.push(...list[i]!.items)
  return list
}

function change(
  node: Node,
  all: readonly Node[],
  random: Random,
  others: readonly Uint8Array[],
): void {
  const choice = random.int(9)
  if (choice === 0) node.raw = random.pick(STRANGERS)
  else if (choice === 1) node.raw = new Uint8Array(writeCbor(random.pick(all)))
  else if (choice === 2) node.width = random.pick([1, 2, 4, 8])
  else if (choice === 3 && node.major >= 2) node.lie = random.pick(EDGES)
  else if (node.major < 2) {
    node.value = random.pick([...EDGES, node.value + 1n, node.value > 0n ? node.value - 1n : 0n])
  } else if (node.major === 4) changeItems(node, all, random)
  else changeData(node, random, others)
}

function changeItems(node: Node, all: readonly Node[], random: Random): void {
  const { items } = node
  const at = random.int(items.length + 1)
  const choice = random.int(5)
  if (choice === 0) items.splice(at, 1)
  else if (choice === 1) items.splice(at, 0, random.pick(all))
  else if (choice === 2 && at < items.length) {
    // More than any limit allows, now and then.
    const times = random.pick([1, 3, 300, 1_100])
    items.splice(at, 0, ...new Array<Node>(times).fill(items[at]!))
  } else if (choice === 3) items.reverse()
  else
    items.splice(at, 0, {
      major: 0,
      value: 0n,
      data: hex(''),
      items: [],
      raw: random.pick(STRANGERS),
    })
}

function changeData(node: Node, random: Random, others: readonly Uint8Array[]): void {
  const { length } = node.data
  const choices = [
    // Byte strings hold entries, bodies and signed things: go on inside.
    () => mutateCbor(node.data, random, others),
    () => mutateCbor(node.data, random, others),
    () => random.bytes(length),
    () => new Uint8Array(length * random.int(3) + random.int(3)),
  ]
  node.data = random.pick(choices)()
}

/** A valid sample with changes to its tree; bytes that are no CBOR of ours are changed as bytes. */
export function mutateCbor(
  bytes: Uint8Array,
  random: Random,
  others: readonly Uint8Array[],
): Uint8Array {
  const root = parseCbor(bytes)
  if (root === undefined) return mutateBytes(bytes, random, others)
  for (let n = 1 + random.int(3); n > 0; n--) {
    const all = everyNode(root)
    // A node that stands in two places at once would be changed in both, and could come to hold itself.
    const node = random.pick(all)
    const copies = all.slice(0, 200).map((each) => structuredClone(each))
    change(node, copies, random, others)
  }
  return new Uint8Array(writeCbor(root))
}

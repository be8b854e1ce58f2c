import { MeshError } from '../../src/base/errors.ts'
import { elementsOf, rowOf } from '../../src/base/extents.ts'
import type { ItemError } from '../../src/runtime/types.ts'
import { MAX_DEVICES } from './limits.ts'
import type { ResultBatch } from './result-lines.ts'

/** Of the numbers that are there. */
export interface ArrayFacts {
  /** Least and greatest of the finite ones, and their mean; undefined when there are none. */
  readonly least: number | undefined
  readonly greatest: number | undefined
  readonly mean: number | undefined
  readonly nan: number
  readonly infinite: number
}

const VALUE = 1
const FAILED = 2

/** The output of a kernel, put together from its items; NaN where an item failed or is not there. */
export class GatheredArray {
  readonly size: readonly number[]
  readonly data: Float32Array
  /** Items that have values, and items that failed. */
  values = 0
  failed = 0
  /** Classes of devices that computed it. */
  readonly devices = new Set<string>()
  private readonly width: number
  private readonly state: Uint8Array
  private readonly onFailure: (failure: ItemError) => Promise<void>

  /** @throws ERR_MESH_PROTOCOL when so many items are not the rows of such an array */
  constructor(
    size: readonly number[],
    items: number,
    onFailure: (failure: ItemError) => Promise<void>,
  ) {
    const elements = elementsOf(size)
    this.width = rowOf(size)
    if (this.width * items !== elements) {
      throw new MeshError(
        'ERR_MESH_PROTOCOL',
        `the job has ${items} items, which are not the rows of ${size.join(' x ')} numbers`,
        { details: { items, size: [...size] } },
      )
    }
    this.size = size
    this.data = new Float32Array(elements).fill(Number.NaN)
    this.state = new Uint8Array(items)
    this.onFailure = onFailure
  }

  /** Takes items in any order; what comes a second time (of another peer) changes nothing. @throws ERR_MESH_PROTOCOL */
  async write(batch: ResultBatch): Promise<void> {
    const { lo, hi, failures, device, numbers } = batch
    if (device !== undefined && this.devices.size < MAX_DEVICES) this.devices.add(device)
    if (numbers?.length === (hi - lo) * this.width && failures.length === 0) {
      this.putAll(lo, hi, numbers)
      return
    }
    const { values } = batch
    const failed = new Map(failures.map((failure) => [failure.index, failure]))
    for (let i = 0; i < values.length; i++) {
      const item = lo + i
      if (this.state[item] !== 0) continue
      const failure = failed.get(item)
      if (failure === undefined) {
        this.put(item, values[i])
      } else {
        this.state[item] = FAILED
        this.failed += 1
        await this.onFailure(failure)
      }
    }
  }

  facts(): ArrayFacts {
    let [least, greatest, sum, finite, nan, infinite] = [Infinity, -Infinity, 0, 0, 0, 0]
    for (let item = 0; item < this.state.length; item++) {
      if (this.state[item] !== VALUE) continue
      const end = (item + 1) * this.width
      for (let at = item * this.width; at < end; at++) {
        const value = this.data[at]!
        if (Number.isNaN(value)) nan += 1
        else if (!Number.isFinite(value)) infinite += 1
        else {
          if (value < least) least = value
          if (value > greatest) greatest = value
          sum += value
          finite += 1
        }
      }
    }
    const some = finite > 0
    return {
      least: some ? least : undefined,
      greatest: some ? greatest : undefined,
      mean: some ? sum / finite : undefined,
      nan,
      infinite,
    }
  }

  /** Without an object for each row: there may be millions. */
  private putAll(lo: number, hi: number, numbers: Float32Array): void {
    const { width, state } = this
    for (let from = lo; from < hi; ) {
      let to = from + 1
      const fresh = state[from] === 0
      while (to < hi && (state[to] === 0) === fresh) to += 1
      if (fresh) {
        this.data.set(numbers.subarray((from - lo) * width, (to - lo) * width), from * width)
        state.fill(VALUE, from, to)
        this.values += to - from
      }
      from = to
    }
  }

  private put(item: number, value: unknown): void {
    const at = item * this.width
    if (typeof value === 'number' && this.width === 1) this.data[at] = value
    else if (value instanceof Float32Array && value.length === this.width) this.data.set(value, at)
    else {
      throw new MeshError(
        'ERR_MESH_PROTOCOL',
        `the result of item ${item} is no row of the kernel's output`,
        { details: { index: item } },
      )
    }
    this.state[item] = VALUE
    this.values += 1
  }
}

import { MeshError } from '../base/errors.ts'
import { decodeSegments, encodeSegment, rowsOf } from '../runtime/segment.ts'
import type { ElementPart, ItemError } from '../runtime/types.ts'
import { ElementMap } from '../scheduler/gate.ts'
import type { PlanNode } from '../scheduler/plan.ts'
import type {
  DoneSpan,
  FailedSpan,
  JobId,
  PeerId,
  Range,
  SchedulerCore,
} from '../scheduler/types.ts'
import type { BlobStore } from '../store/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import {
  MAX_CALL_VALUES,
  MAX_FAILED_AT_ONCE,
  MAX_RESULTS_PER_CHUNK,
  VALUES_PER_TURN,
} from './limits.ts'

export interface GraphParts {
  readonly blobs: Pick<BlobStore, 'path' | 'get'>
  readonly exchange: Pick<BlobExchange, 'ensure'>
  readonly results: Pick<SchedulerCore, 'doneAt' | 'failures'>
}

/** Where the values of some final items are: numbered by the elements that they are. */
export interface ValuePart {
  readonly first: number
  readonly count: number
  readonly skip: number
  readonly result: DoneSpan['result']
  readonly author: PeerId
  /** Of items that failed without a DONE, what says so. */
  readonly bytes?: Uint8Array
}

/** The value of an item, or why there is none. */
export type ItemValue = { readonly value: unknown } | { readonly failure: ItemError }

const maps = new WeakMap<PlanNode, ElementMap>()

/** The items that the elements of a node are, each once in their order. */
export function elementMapOf(node: PlanNode): ElementMap {
  let map = maps.get(node)
  if (map === undefined) {
    map = new ElementMap(node.input.kind === 'each' ? node.input.from : [])
    maps.set(node, map)
  }
  return map
}

/** Reads what the items of one job have come to. */
export class GraphValues {
  private readonly parts: GraphParts
  private readonly job: JobId
  private failed: readonly FailedSpan[] | undefined
  private valuesLeft = MAX_CALL_VALUES
  private readInTurn = 0

  constructor(parts: GraphParts, job: JobId) {
    this.parts = parts
    this.job = job
  }

  /**
   * Where the values of these items are, numbered on from element `first`.
   * @throws ERR_MESH_RESULT_LOST when one is not final any more: it is computed again
   */
  *partsOf(sources: Iterable<Range>, first: number): Generator<ValuePart> {
    let element = first
    for (const { lo, hi } of sources) {
      for (let item = lo; item < hi; ) {
        const part = this.partAt(item, hi, element)
        yield part
        item += part.count
        element += part.count
      }
    }
  }

  private partAt(item: number, hi: number, first: number): ValuePart {
    const span = this.parts.results.doneAt(this.job, item)
    if (span !== undefined) {
      const count = Math.min(span.hi, hi) - item
      const { result, author, originLo } = span
      return { first, count, skip: item - originLo, result, author }
    }
    this.failed ??= [...this.parts.results.failures(this.job)]
    const failure = this.failed.find((each) => each.lo <= item && item < each.hi)
    if (failure === undefined) throw again(item)
    const count = Math.min(failure.hi, hi, item + MAX_FAILED_AT_ONCE) - item
    const bytes = failuresOf(failure, count)
    const result = { kind: 'inline', bytes } as const
    return { first, count, skip: 0, result, author: '' as PeerId, bytes }
  }

  /** Brings the value here. @throws ERR_MESH_RESULT_LOST when no connected peer has it */
  async bring({ result, author }: ValuePart): Promise<void> {
    if (result.kind === 'inline') return
    try {
      await this.parts.exchange.ensure(result.hash, [...result.keepers, author])
    } catch (cause) {
      if (!(cause instanceof MeshError) || cause.code !== 'ERR_MESH_INPUT_LOST') throw cause
      throw new MeshError('ERR_MESH_RESULT_LOST', `an input is not to be had: ${cause.message}`, {
        cause,
        details: cause.details,
      })
    }
  }

  /** Its value is needed soon. */
  expect(part: ValuePart): void {
    this.bring(part).catch(() => undefined)
  }

  /** As a worker reads it; it is here. */
  elementPart({ first, count, skip, result }: ValuePart): ElementPart {
    return result.kind === 'inline'
      ? { first, count, skip, bytes: result.bytes }
      : { first, count, skip, path: this.parts.blobs.path(result.hash) }
  }

  /**
   * The values of items, or why there are none, in order. Brings them here; lets others run between results.
   * @throws ERR_MESH_PLAN_INVALID when more than MAX_CALL_VALUES are asked for, all calls together
   */
  async read(sources: readonly Range[]): Promise<ItemValue[]> {
    const values: ItemValue[] = []
    this.valuesLeft -= sources.reduce((sum, { lo, hi }) => sum + hi - lo, 0)
    if (this.valuesLeft < 0) {
      throw new MeshError(
        'ERR_MESH_PLAN_INVALID',
        `a call takes more than ${MAX_CALL_VALUES} values: give them to a reduce`,
      )
    }
    const parts = [...this.partsOf(sources, 0)]
    for (const [i, part] of parts.entries()) {
      const next = parts[i + MAX_RESULTS_PER_CHUNK]
      if (i === 0) for (const each of parts.slice(1, MAX_RESULTS_PER_CHUNK)) this.expect(each)
      if (next !== undefined) this.expect(next)
      await this.bring(part)
      const { result, skip, count } = part
      const bytes =
        result.kind === 'inline' ? result.bytes : await this.parts.blobs.get(result.hash)
      const end = values.length + count
      for (const segment of decodeSegments(bytes, -skip)) {
        if (segment.hi <= 0) continue
        if (segment.lo >= count) break
        const { lo, hi, f32, failures } = segment
        const all = f32 === undefined ? segment.values : rowsOf(f32.numbers, hi - lo)
        const failedAt = new Map(failures.map((failure) => [failure.index, failure]))
        for (let i = Math.max(lo, 0); i < Math.min(hi, count); i += 1) {
          const failure = failedAt.get(i)
          values.push(failure === undefined ? { value: all[i - lo] } : { failure })
        }
      }
      if (values.length !== end) throw new MeshError('ERR_MESH_PROTOCOL', 'a result is too short')
      this.readInTurn += count
      if (this.readInTurn < VALUES_PER_TURN) continue
      this.readInTurn = 0
      await new Promise((resolve) => setImmediate(resolve))
    }
    return values
  }
}

function failuresOf({ code, message }: FailedSpan, count: number): Uint8Array {
  const failures = Array.from({ length: count }, (_, index) => ({
    index,
    code,
    name: 'MeshError',
    message,
    attempts: 1,
  }))
  return encodeSegment(new Array(count).fill(null), failures)
}

function again(item: number): MeshError {
  return new MeshError(
    'ERR_MESH_RESULT_LOST',
    `item ${item}, which is an input here, is being computed again`,
  )
}

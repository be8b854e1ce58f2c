/** Gathers the values of a run and hands them over as segments. */

import { isMeshError } from '../../base/errors.ts'
import { FLUSH_BYTES, MAX_VALUE_BYTES } from '../limits.ts'
import { encodeSegmentParts } from '../segment.ts'
import type { ItemError } from '../types.ts'
import { reportOutput } from './reporter.ts'

/** Of an object before any was encoded: small enough to look early, so that sixteen huge ones do not gather. */
const FIRST_GUESS_BYTES = 16 * 1024
const NUMBER_BYTES = 9

export class Output {
  /** Items from here on are not handed over yet. */
  flushedTo: number
  failed = 0
  sentBytes = 0
  private readonly run: number
  private values: unknown[] = []
  private failures: ItemError[] = []
  private pendingBytes = 0
  private objectBytes = FIRST_GUESS_BYTES

  constructor(run: number, lo: number) {
    this.run = run
    this.flushedTo = lo
  }

  /** Adds the next item's value; true when it is time to flush. */
  add(value: unknown): boolean {
    this.values.push(value)
    this.pendingBytes += typeof value === 'number' ? NUMBER_BYTES : this.estimate(value)
    return this.pendingBytes >= FLUSH_BYTES
  }

  /** Adds the next item as failed; `error.index` is its number within the job. */
  addFailure(error: ItemError): boolean {
    this.failures.push({ ...error, index: this.values.length })
    this.values.push(null)
    this.failed += 1
    this.pendingBytes += 64 + error.message.length + (error.stack?.length ?? 0)
    return this.pendingBytes >= FLUSH_BYTES
  }

  get empty(): boolean {
    return this.values.length === 0
  }

  flush(attemptsOf: (item: number) => number = () => 1): void {
    if (this.values.length === 0) return
    const { values, failures } = this
    this.values = []
    this.failures = []
    this.pendingBytes = 0
    this.send(values, failures, attemptsOf)
  }

  private send(
    values: unknown[],
    failures: ItemError[],
    attemptsOf: (item: number) => number,
  ): void {
    let parts: Uint8Array[]
    try {
      parts = encodeSegmentParts(values, failures)
    } catch (error) {
      if (!isMeshError(error)) throw error
      const index = error.details.index
      if (typeof index !== 'number') throw error
      this.refuse(values, failures, index, error.code, attemptsOf)
      this.send(values, failures, attemptsOf)
      return
    }
    const packed = parts[1]!.length
    if (packed > MAX_VALUE_BYTES && values.length > 1) {
      this.sendHalves(values, failures, attemptsOf)
      return
    }
    const lo = this.flushedTo
    this.flushedTo += values.length
    this.objectBytes = Math.max(1, packed / values.length)
    for (const part of parts) this.sentBytes += part.length
    reportOutput(this.run, failures.length, lo, this.flushedTo, parts)
  }

  private sendHalves(
    values: unknown[],
    failures: ItemError[],
    attemptsOf: (item: number) => number,
  ): void {
    const half = values.length >> 1
    const first = failures.filter((it) => it.index < half)
    const second = failures.filter((it) => it.index >= half)
    this.send(values.slice(0, half), first, attemptsOf)
    this.send(
      values.slice(half),
      second.map((it) => ({ ...it, index: it.index - half })),
      attemptsOf,
    )
  }

  private refuse(
    values: unknown[],
    failures: ItemError[],
    index: number,
    code: string,
    attemptsOf: (item: number) => number,
  ): void {
    const item = this.flushedTo + index
    const message = describeRefusal(values[index], item)
    values[index] = null
    failures.push({ index, code, name: 'MeshError', message, attempts: attemptsOf(item) })
    failures.sort((a, b) => a.index - b.index)
    this.failed += 1
  }

  private estimate(value: unknown): number {
    if (typeof value === 'string') return value.length + 5
    if (typeof value !== 'object' || value === null) return NUMBER_BYTES
    if (ArrayBuffer.isView(value)) return value.byteLength + 8
    return this.objectBytes
  }
}

function describeRefusal(value: unknown, item: number): string {
  try {
    encodeSegmentParts([value])
  } catch (error) {
    if (error instanceof Error) return error.message.replace('of item 0 ', `of item ${item} `)
  }
  return `the value of item ${item} cannot be sent`
}

import { MAX_RUN_ENTRIES } from './limits.ts'
import type { StoredEntry } from './records.ts'
import { ENTRY_OVERHEAD_BYTES, RUN_OVERHEAD_BYTES } from './run-codec.ts'
import type { Run } from './types.ts'

/** Collects entries up to the last signed end that fits. */
export class RunBuilder {
  private readonly maxBytes: number
  private readonly entries: Uint8Array[] = []
  private size = RUN_OVERHEAD_BYTES
  private ends = 0
  private signature: Uint8Array | undefined

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  /** False when the run is complete. The first signed end is taken whatever its size. */
  add({ bytes, signature }: StoredEntry): boolean {
    this.size += bytes.length + ENTRY_OVERHEAD_BYTES
    const full = this.size > this.maxBytes || this.entries.length >= MAX_RUN_ENTRIES
    if (full && this.signature !== undefined) return false
    this.entries.push(bytes)
    if (signature !== undefined) {
      this.ends = this.entries.length
      this.signature = signature
    }
    return true
  }

  run(): Run | undefined {
    if (this.signature === undefined) return undefined
    return { entries: this.entries.slice(0, this.ends), signature: this.signature }
  }
}

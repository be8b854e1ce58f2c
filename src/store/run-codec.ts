import { CborReader, protocolError } from './cbor-reader.ts'
import { encodeCbor } from './cbor-values.ts'
import { MAX_ENTRY_BYTES, MAX_RUN_BYTES, MAX_RUN_ENTRIES } from './limits.ts'
import type { Run } from './types.ts'

const SIGNATURE_BYTES = 64
/** What encodeRun adds: for the run, and for each entry. */
export const RUN_OVERHEAD_BYTES = 1 + 2 + SIGNATURE_BYTES + 3
export const ENTRY_OVERHEAD_BYTES = 3

/** `[signature, [entry, …]]` in canonical CBOR (docs/protocol.md, "Runs"). ERR_MESH_PROTOCOL above the limits. */
export function encodeRun(run: Run): Uint8Array {
  checkRun(run)
  return encodeCbor([run.signature, [...run.entries]])
}

/** The run in `bytes`: bounded, its entries views of `bytes` and not looked into. Throws ERR_MESH_PROTOCOL, nothing else. */
export function decodeRun(bytes: Uint8Array): Run {
  const reader = new CborReader(bytes)
  const run = readRun(reader)
  reader.end('run')
  return run
}

/** Reads a run out of a larger message. */
export function readRun(reader: CborReader): Run {
  reader.array('run', 2, 2)
  const signature = reader.bytes('signature', SIGNATURE_BYTES)
  const count = reader.array('entries', 1, MAX_RUN_ENTRIES)
  const entries: Uint8Array[] = []
  for (let i = 0; i < count; i++) entries.push(reader.bytes('entry', MAX_ENTRY_BYTES))
  const run = { entries, signature }
  checkRun(run)
  return run
}

/** ERR_MESH_PROTOCOL if a run breaks the limits. */
export function checkRun(run: Run): void {
  if (run.signature.length !== SIGNATURE_BYTES) {
    throw protocolError(
      `signature has ${run.signature.length} bytes, ${SIGNATURE_BYTES} are needed`,
    )
  }
  if (run.entries.length === 0) throw protocolError('run is empty')
  if (run.entries.length > MAX_RUN_ENTRIES) {
    throw protocolError(`run has ${run.entries.length} entries, at most ${MAX_RUN_ENTRIES}`)
  }
  let total = RUN_OVERHEAD_BYTES
  for (const entry of run.entries) {
    if (entry.length > MAX_ENTRY_BYTES) {
      throw protocolError(`entry has ${entry.length} bytes, at most ${MAX_ENTRY_BYTES}`)
    }
    total += entry.length + ENTRY_OVERHEAD_BYTES
  }
  if (total > MAX_RUN_BYTES) {
    throw protocolError(`run has ${total} bytes, at most ${MAX_RUN_BYTES} are allowed`)
  }
}

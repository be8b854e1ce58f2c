import { isMeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { pause } from '../base/pause.ts'
import type { BlobHash, PeerId, ResultRef } from '../scheduler/types.ts'
import type { BlobStore } from '../store/types.ts'
import { PLACE_FALLBACK_MS, PLACE_MIN_BYTES_PER_MS, PLACE_PATIENCE_MS } from './limits.ts'
import type { Transport } from './transport/types.ts'

export interface Output {
  readonly hash: BlobHash
  readonly sizeBytes: number
  readonly parts: readonly Uint8Array[]
}

export interface PlacingParts {
  readonly self: PeerId
  readonly blobs: BlobStore
  readonly transport: () => Pick<Transport, 'offerBlob'>
  readonly log: Logger
  /** Shorter in tests. */
  readonly patienceMs?: number
  readonly fallbackMs?: number
}

/**
 * Puts a finished chunk's output on all its keepers at once, and gives those that have it (docs/protocol.md, "Values and results").
 * A slow or dead keeper holds nobody up: once one has it, the others get a moment; while none has, this peer keeps it itself.
 * @throws what the own store says, when no other peer has it either
 */
export async function placeOutput(
  parts: PlacingParts,
  output: Output,
  keepers: readonly PeerId[],
): Promise<ResultRef> {
  const { hash, sizeBytes } = output
  const held = new Set<PeerId>()
  const giveUp = new AbortController()
  const extraMs = sizeBytes / PLACE_MIN_BYTES_PER_MS
  let first: () => void = () => undefined
  const firstReceipt = new Promise<void>((resolve) => {
    first = resolve
  })
  let ownFailure: unknown
  const bring = async (keeper: PeerId): Promise<void> => {
    try {
      if (!(await bringTo(parts, output, keeper, giveUp.signal))) return
      held.add(keeper)
      first()
    } catch (error) {
      if (keeper === parts.self) ownFailure = error
      parts.log.warn('a keeper did not take a result', {
        keeper: keeper.slice(0, 8),
        error: String(error),
      })
    }
  }
  const wanted = new Set(keepers.length === 0 ? [parts.self] : keepers)
  const all = Promise.all([...wanted].map(bring))
  try {
    await within(
      (parts.fallbackMs ?? PLACE_FALLBACK_MS) + extraMs,
      Promise.race([firstReceipt, all]),
    )
    if (held.size === 0 && !wanted.has(parts.self)) await bring(parts.self)
    if (held.size > 0) await within((parts.patienceMs ?? PLACE_PATIENCE_MS) + extraMs, all)
    else await all
  } finally {
    giveUp.abort()
  }
  if (held.size === 0) throw ownFailure ?? new Error('no keeper took the result')
  return { kind: 'blob', hash, sizeBytes, keepers: [...held] }
}

async function bringTo(
  { self, blobs, transport }: PlacingParts,
  { hash, sizeBytes, parts }: Output,
  keeper: PeerId,
  signal: AbortSignal,
): Promise<boolean> {
  if (keeper !== self) return transport().offerBlob(keeper, hash, sizeBytes, each(parts), signal)
  await blobs.write(each(parts), { hash, sizeBytes })
  return true
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const over = new AbortController()
  await Promise.race([work, pause(ms, over.signal)])
  over.abort()
}

export function isDiskFull(error: unknown): boolean {
  return isMeshError(error, 'ERR_MESH_DISK_FULL')
}

async function* each(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts
}

import { rendezvousOrder } from '../scheduler/rendezvous.ts'
import type { BlobHash, JobId, JobSpec, PeerId } from '../scheduler/types.ts'
import { DETACH_COPIES, DETACH_TIMEOUT_MS } from './limits.ts'
import type { Peer } from './peer.ts'

/**
 * Leaves a job's log, code and input with up to two other peers, and waits until they have all of it. Peers that cannot take it are
 * passed over; those that keep it for the author anyway (custody.ts) come first.
 * @returns who has it; empty: nobody
 */
export async function handOverJob(peer: Peer, job: JobId, spec: JobSpec): Promise<PeerId[]> {
  const { presence, keepers } = peer.upkeep
  const lending = presence.reachable().filter((other) => (peer.roster.facts(other)?.slots ?? 0) > 0)
  const rest = presence.reachable().filter((other) => !lending.includes(other))
  const targets = [...rendezvousOrder(job, lending), ...rendezvousOrder(job, rest)]
  const blobs = await peer.inputs.blobsOf(job, spec, peer.id)
  const held: PeerId[] = []
  while (held.length < DETACH_COPIES && targets.length > 0) {
    const batch = targets.splice(0, DETACH_COPIES - held.length)
    const taken = await Promise.all(batch.map((to) => giveAll(peer, to, job, blobs)))
    held.push(...batch.filter((_, i) => taken[i]))
  }
  // Values that were finished meanwhile, and that only this peer holds.
  if (held.length > 0) void keepers.look().catch(() => undefined)
  return held
}

async function giveAll(
  peer: Peer,
  to: PeerId,
  job: JobId,
  blobs: readonly BlobHash[],
): Promise<boolean> {
  for (const hash of blobs) if (!(await offer(peer, to, hash))) return false
  return acknowledged(peer, job, to)
}

async function offer(peer: Peer, to: PeerId, hash: BlobHash): Promise<boolean> {
  const { blobs } = peer.store
  const sizeBytes = await blobs.size(hash)
  if (sizeBytes === undefined) return false
  try {
    return await peer.transport.offerBlob(to, hash, sizeBytes, blobs.read(hash))
  } catch {
    return false
  }
}

async function acknowledged(peer: Peer, job: JobId, target: PeerId): Promise<boolean> {
  const has = () => peer.jobs.acknowledgedBy(job).includes(target)
  if (!has()) void peer.replication.sendJob(target, job)
  return untilJob(peer, has, AbortSignal.timeout(DETACH_TIMEOUT_MS))
}

/** Waits for a job event that makes `condition` true; false when aborted. */
export function untilJob(
  peer: Peer,
  condition: () => boolean,
  signal?: AbortSignal,
): Promise<boolean> {
  if (condition()) return Promise.resolve(true)
  return new Promise((resolve) => {
    const settle = (value: boolean) => {
      unlisten()
      signal?.removeEventListener('abort', aborted)
      resolve(value)
    }
    const aborted = () => settle(false)
    const unlisten = peer.jobs.on(() => {
      if (condition()) settle(true)
    })
    signal?.addEventListener('abort', aborted)
    if (signal?.aborted) aborted()
  })
}

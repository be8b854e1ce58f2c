import { availableParallelism, freemem, totalmem } from 'node:os'
import { MAX_WATCHERS } from '../scheduler/limits.ts'
import type { Liveness, PeerFacts, PeerId } from '../scheduler/types.ts'
import { kernelSpeedOf } from './gpu-facts.ts'
import type { Offer } from './job-needs.ts'
import { LEFT_FORGET_MS, MAX_KNOWN_PEERS, PEER_FORGET_MS, SILENT_AFTER_MS } from './limits.ts'
import type { PeerInfo } from './types.ts'
import type { Advert } from './wire/advert.ts'

interface Known {
  readonly advert: Advert
  /** As its author signed it: handed on as it is. */
  readonly bytes: Uint8Array
  readonly heardAt: number
}

/** Who is in the mesh, as their signed adverts say. */
export class Roster {
  private readonly known = new Map<PeerId, Known>()
  private readonly now: () => number
  private readonly liveness: (peer: PeerId) => Liveness

  constructor(now: () => number, liveness: (peer: PeerId) => Liveness = unknownLiveness) {
    this.now = now
    this.liveness = liveness
  }

  /** Takes an advert in; false when it is older than what is known. */
  learn(advert: Advert, bytes: Uint8Array): boolean {
    const before = this.known.get(advert.peer)?.advert
    if (before !== undefined && !isNewer(advert, before)) return false
    if (before === undefined && this.known.size >= MAX_KNOWN_PEERS) this.dropOldest()
    this.known.set(advert.peer, { advert, bytes, heardAt: this.now() })
    return true
  }

  get(peer: PeerId): Advert | undefined {
    return this.known.get(peer)?.advert
  }

  bytes(peer: PeerId): Uint8Array | undefined {
    return this.known.get(peer)?.bytes
  }

  /** Where it listens, with its id; none of a peer that said good-bye. */
  addressesOf(peer: PeerId): string[] {
    const advert = this.known.get(peer)?.advert
    if (advert === undefined || LEFT_LABEL in advert.labels) return []
    return advert.addresses.filter((address) => address.includes('/p2p/'))
  }

  /** What peers that lend, and live as far as is known, have for jobs that require something. */
  *offers(): Generator<Offer> {
    for (const [peer, { advert }] of this.known) {
      const { slots, cores, memoryBytes, gpu, labels } = advert
      if (slots === 0 || LEFT_LABEL in labels || this.liveness(peer).state === 'lost') continue
      yield { cores, memoryBytes, gpu: gpu !== null, labels: userLabels(labels) }
    }
  }

  /** Its last advert says that it leaves. */
  hasLeft(peer: PeerId): boolean {
    const advert = this.known.get(peer)?.advert
    return advert !== undefined && LEFT_LABEL in advert.labels
  }

  name(peer: PeerId): string {
    return this.known.get(peer)?.advert.name ?? peer.slice(0, 8)
  }

  facts(peer: PeerId): PeerFacts | undefined {
    const advert = this.known.get(peer)?.advert
    return advert && factsOf(advert)
  }

  /** Connected peers, and those heard of within a minute. */
  list(
    connection: (peer: PeerId) => { address: string; rttMs: number | undefined } | undefined,
  ): PeerInfo[] {
    const now = this.now()
    const list: PeerInfo[] = []
    for (const [peer, { advert, heardAt }] of this.known) {
      const link = connection(peer)
      const forgetMs = LEFT_LABEL in advert.labels ? LEFT_FORGET_MS : PEER_FORGET_MS
      if (link === undefined && now - heardAt > forgetMs) {
        this.known.delete(peer)
        continue
      }
      const live = this.liveness(peer)
      // What others say of it is heard later than itself.
      const heardMs = live.state === 'unknown' ? Number.POSITIVE_INFINITY : live.silentMs
      const lastSeenMs = link === undefined ? Math.min(now - heardAt, heardMs) : live.silentMs
      const seen = { self: false, link, lastSeenMs, lost: live.state === 'lost' }
      // In a larger mesh most peers report to others: those are silent here by right.
      const watched = this.known.size <= MAX_WATCHERS
      list.push(infoOf(advert, { ...seen, silenceCounts: watched }))
    }
    return list
  }

  private dropOldest(): void {
    let oldest: PeerId | undefined
    let heardAt = Infinity
    for (const [peer, known] of this.known) {
      if (known.heardAt < heardAt) {
        oldest = peer
        heardAt = known.heardAt
      }
    }
    if (oldest !== undefined) this.known.delete(oldest)
  }
}

/** Labels of an advert that say why a peer takes nothing, or not for long. */
export const LEFT_LABEL = 'left'
export const DISK_LABEL = 'disk'
export const EMBEDDED_LABEL = 'embedded'
/** They are a peer's own: no user gives it a label that is called so. */
export const OWN_LABELS: readonly string[] = [LEFT_LABEL, DISK_LABEL, EMBEDDED_LABEL]

/** Those that a user gave. */
function userLabels(labels: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(labels).filter(([name]) => !OWN_LABELS.includes(name)))
}

export function infoOf(
  advert: Advert,
  seen: {
    self: boolean
    link: { address: string; rttMs: number | undefined } | undefined
    lastSeenMs: number
    lost?: boolean
    silenceCounts?: boolean
  },
): PeerInfo {
  return {
    id: advert.peer,
    short: advert.peer.slice(0, 8),
    session: advert.session,
    name: advert.name,
    self: seen.self,
    address: seen.link?.address ?? '',
    connected: seen.self || seen.link !== undefined,
    version: advert.version,
    cores: advert.cores,
    slots: advert.slots,
    freeSlots: advert.freeSlots,
    memoryBytes: advert.memoryBytes,
    freeMemoryBytes: advert.freeMemoryBytes,
    gpu: advert.gpu,
    speed: advert.speed,
    itemsPerSecond: advert.itemsPerSecond,
    rttMs: seen.link?.rttMs ?? null,
    lastSeenMs: Math.round(seen.lastSeenMs),
    state: stateOf(advert, seen),
    lost: seen.lost === true,
    diskFull: DISK_LABEL in advert.labels,
    labels: userLabels(advert.labels),
  }
}

function stateOf(advert: Advert, seen: Parameters<typeof infoOf>[1]): PeerInfo['state'] {
  if (LEFT_LABEL in advert.labels) return 'left'
  if (!seen.self && seen.link === undefined) return 'away'
  const late = seen.silenceCounts === true && seen.lastSeenMs > SILENT_AFTER_MS
  return seen.lost === true || late ? 'silent' : 'connected'
}

export function factsOf(advert: Advert): PeerFacts {
  const { peer, session, sessionNumber, slots, speed, gpu, cores, memoryBytes } = advert
  const labels = userLabels(advert.labels)
  const facts = { peer, session, sessionNumber, slots, speed, cores, memoryBytes, labels }
  return gpu === null ? facts : { ...facts, kernelSpeed: kernelSpeedOf(gpu) }
}

/** What this machine has, for the advert. */
export function machineFacts(): { cores: number; memoryBytes: number; freeMemoryBytes: number } {
  return { cores: availableParallelism(), memoryBytes: totalmem(), freeMemoryBytes: freemem() }
}

function unknownLiveness(): Liveness {
  return { state: 'unknown', silentMs: 0 }
}

function isNewer(advert: Advert, than: Advert): boolean {
  if (advert.sessionNumber !== than.sessionNumber) return advert.sessionNumber > than.sessionNumber
  return advert.seq > than.seq
}

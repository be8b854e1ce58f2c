import { MeshError } from '../../../src/base/errors.ts'
import { silentLogger } from '../../../src/base/logger.ts'
import { Keepers } from '../../../src/node/keepers.ts'
import { DEFAULT_TIMES, type UpkeepTimes } from '../../../src/node/upkeep-times.ts'
import type {
  BlobHash,
  DoneSpan,
  EntryHash,
  JobId,
  PeerId,
  SchedulerEvent,
} from '../../../src/scheduler/types.ts'
import { createMemoryBlobs } from '../../../src/store/memory-blobs.ts'
import type { BlobStore, Store, StoredJob } from '../../../src/store/types.ts'

export const JOB = 'ab'.repeat(32) as JobId
export const peerId = (n: number): PeerId => n.toString(16).padStart(2, '0').repeat(32) as PeerId

export interface Member {
  readonly id: PeerId
  readonly blobs: BlobStore
  readonly keepers: Keepers
  readonly dispatched: SchedulerEvent[]
  /** Offers that it made, as [to, hash]. */
  readonly offers: [PeerId, BlobHash][]
  /** Logs that it sent. */
  readonly sent: [PeerId, JobId][]
}

/** Peers that know one job and whose keepers talk through memory: the clock is the test's. */
export class SmallMesh {
  now = 0
  running = true
  /** Values of items from here on are of use. */
  neededFrom = 0
  readonly members = new Map<PeerId, Member>()
  readonly dead = new Map<PeerId, number>()
  readonly full = new Set<PeerId>()
  readonly spans: DoneSpan[] = []
  readonly record: StoredJob
  private readonly times: UpkeepTimes

  constructor(peers: number, options: { replicas?: number; times?: Partial<UpkeepTimes> } = {}) {
    this.times = { ...DEFAULT_TIMES, ...options.times }
    this.record = {
      job: JOB,
      state: 'running',
      updatedAt: 0,
      summary: {
        items: 1000,
        done: 0,
        failed: 0,
        submittedAt: 0,
        author: peerId(0),
        spec: {
          v: 1,
          task: { kind: 'module', name: 't', bundle: 'cd'.repeat(32) as BlobHash, bundleBytes: 1 },
          input: { kind: 'range', start: 0, count: 1000 },
          options: options.replicas === undefined ? {} : { replicas: options.replicas },
          nonce: '00'.repeat(16),
        },
      },
    }
    for (let i = 0; i < peers; i += 1) this.add(peerId(i))
  }

  /** A result of ten items, on its keepers. */
  async result(keepers: readonly PeerId[]): Promise<BlobHash> {
    const lo = this.spans.length * 10
    const bytes = Buffer.from(`values of ${lo}`)
    let hash = '' as BlobHash
    for (const keeper of keepers) hash = (await this.members.get(keeper)!.blobs.put(bytes)).hash
    this.spans.push({
      lo,
      hi: lo + 10,
      originLo: lo,
      hash: lo.toString(16).padStart(64, '0') as EntryHash,
      author: keepers[0]!,
      failed: 0,
      result: { kind: 'blob', hash, sizeBytes: bytes.length, keepers },
    })
    return hash
  }

  kill(peer: PeerId): void {
    this.dead.set(peer, this.now)
    for (const { keepers, id } of this.members.values()) if (id !== peer) keepers.leaseEnded(peer)
  }

  async holders(hash: BlobHash): Promise<PeerId[]> {
    const found: PeerId[] = []
    for (const { id, blobs } of this.members.values()) {
      if (!this.dead.has(id) && (await blobs.has(hash))) found.push(id)
    }
    return found
  }

  /** Every live peer looks, one after the other. */
  async look(): Promise<void> {
    for (const { id, keepers } of this.members.values())
      if (!this.dead.has(id)) await keepers.look()
  }

  offersMade(): number {
    return [...this.members.values()].reduce((sum, { offers }) => sum + offers.length, 0)
  }

  close(): void {
    for (const { keepers } of this.members.values()) keepers.close()
  }

  private live(peer: PeerId): boolean {
    return this.members.has(peer) && !this.dead.has(peer)
  }

  private add(id: PeerId): void {
    const blobs = createMemoryBlobs()
    const offers: Member['offers'] = []
    const sent: Member['sent'] = []
    const dispatched: SchedulerEvent[] = []
    const reachable = () =>
      [...this.members.keys()].filter((peer) => peer !== id && this.live(peer))
    const store = {
      blobs,
      jobs: async () => [this.record],
      job: async () => this.record,
      doneSpans: async function* (this: { spans: DoneSpan[] }) {
        yield* this.spans
      }.bind(this),
    } as unknown as Store
    const keepers = new Keepers({
      self: id,
      isNeeded: (_job, _lo, hi) => hi > this.neededFrom,
      store,
      exchange: {
        ensure: async (hash) => {
          if (await blobs.has(hash)) return
          for (const peer of reachable()) {
            const theirs = this.members.get(peer)!.blobs
            if (!(await theirs.has(hash))) continue
            await blobs.put(await theirs.get(hash))
            return
          }
          throw new MeshError('ERR_MESH_INPUT_LOST', 'nobody has it', { details: { hash } })
        },
      },
      presence: {
        live: (peer) => this.live(peer),
        awayMs: (peer) => (this.live(peer) ? 0 : this.now - (this.dead.get(peer) ?? 0)),
        reachable,
        inMinority: () => 2 * (this.members.size - this.dead.size) < this.members.size,
      },
      transport: () => ({
        offerBlob: async (to, hash, _sizeBytes, source) => {
          offers.push([to, hash])
          if (!this.live(to) || this.full.has(to)) return false
          const theirs = this.members.get(to)!.blobs
          if (!(await theirs.has(hash))) await theirs.write(source)
          return true
        },
      }),
      sendJob: async (to, job) => void sent.push([to, job]),
      readiness: (peer) => (this.full.has(peer) ? 0 : 2),
      isRunning: () => this.running,
      dispatch: (event) => dispatched.push(event),
      times: this.times,
      now: () => this.now,
      log: silentLogger,
    })
    this.members.set(id, { id, blobs, keepers, dispatched, offers, sent })
  }
}

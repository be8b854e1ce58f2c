import type { Logger } from '../base/logger.ts'
import type {
  Entry,
  JobId,
  PeerId,
  SchedulerCore,
  SchedulerEvent,
  SessionId,
} from '../scheduler/types.ts'
import { decodeHeader, isOfNewerVersion, jobIdOf } from '../store/entry-codec.ts'
import { isSessionOf } from '../store/identity.ts'
import { MAX_FORK_PROOF_BYTES } from '../store/limits.ts'
import type { FeedHead, FeedId, IngestResult, Run, Store } from '../store/types.ts'
import {
  MAX_BUFFERED_ENTRIES,
  MAX_FORKS_TOLD,
  MAX_HEADS_PER_MESSAGE,
  MAX_RUN_MESSAGE_BYTES,
  MAX_WAITING_SENDS,
  READ_AGAIN_ENTRIES,
  WANT_JOB_MS,
} from './limits.ts'
import type { WireMessage } from './wire/messages.ts'

const NOTHING = new Uint8Array()

export interface ReplicationParts {
  readonly store: Store
  readonly scheduler: SchedulerCore
  readonly self: FeedId
  readonly dispatch: (event: SchedulerEvent) => void
  readonly send: (to: PeerId, message: WireMessage) => boolean
  readonly gossip: (topic: 'jobs' | 'entries', runs: Run[]) => void
  readonly connected: () => readonly PeerId[]
  /** That peer writes entries of a newer version. */
  readonly newerLog: (peer: PeerId) => void
  readonly strike: (peer: PeerId, reason: string) => void
  /** A JOB seen for the first time on this peer. */
  readonly jobArrived: (job: JobId, author: PeerId, from: PeerId | undefined) => void
  /** A LOST came for a job that was over and is only in the store. */
  readonly reopen: (job: JobId) => void
  readonly log: Logger
}

/**
 * Brings log entries to other peers and takes theirs in (docs/protocol.md, "Replication"): this peer's own feeds are pushed over
 * direct streams and gossiped; on connect, now and then, and on a gap, version vectors with head hashes are exchanged and what
 * is missing is pulled.
 */
export class Replication {
  private readonly parts: ReplicationParts
  /** How far this peer's own feed of a job was sent to a peer, and gossiped. */
  private readonly sent = new Map<PeerId, Map<JobId, number>>()
  private readonly gossiped = new Map<JobId, number>()
  /** Jobs whose earlier log is being read from the store; entries that come meanwhile wait. */
  private readonly loading = new Map<JobId, Entry[]>()
  /** Jobs that are over and only in the store: what still comes for them is kept, and changes nothing. */
  private readonly ended = new Set<JobId>()
  /** Jobs of which more came while they were read than was kept back. */
  private readonly overflowed = new Set<JobId>()
  /** Jobs taken up from the store that have not been compared with a neighbour since. */
  private readonly catchingUp = new Set<JobId>()
  /** Told when the JOB that they wait for has come. */
  private readonly wanted = new Map<JobId, () => void>()
  /** Forked feeds that were told. */
  private readonly forks = new Set<string>()
  /** Sends to one peer are in order: each waits for the one before. */
  private readonly sending = new Map<PeerId, { last: Promise<void>; waiting: number }>()

  constructor(parts: ReplicationParts) {
    this.parts = parts
  }

  peerGone(peer: PeerId): void {
    this.sent.delete(peer)
    this.sending.delete(peer)
  }

  /** The job is over and leaves the scheduler's memory. */
  forget(job: JobId): void {
    this.ended.add(job)
    this.gossiped.delete(job)
    for (const cursors of this.sent.values()) cursors.delete(job)
  }

  /** The job is being taken up from the store: what comes for it waits until `loaded`. */
  hold(job: JobId): void {
    this.ended.delete(job)
    this.loading.set(job, [])
    this.catchingUp.add(job)
  }

  loaded(job: JobId): void {
    const entries = this.loading.get(job) ?? []
    this.loading.delete(job)
    if (entries.length > 0) {
      this.parts.dispatch({ type: 'entriesReceived', entries, from: undefined })
    }
    this.readAgain(job)
  }

  /** More came than was kept back while the job was read: the store has it, and its fold takes what is new to it. */
  private readAgain(job: JobId): void {
    if (!this.overflowed.delete(job)) return
    const read = async (): Promise<void> => {
      let entries: Entry[] = []
      for await (const entry of this.parts.store.entries(job)) {
        entries.push(entry)
        if (entries.length < READ_AGAIN_ENTRIES) continue
        this.parts.dispatch({ type: 'entriesReceived', entries, from: undefined })
        entries = []
      }
      this.parts.dispatch({ type: 'entriesReceived', entries, from: undefined })
    }
    read().catch((error: unknown) => {
      this.parts.log.error('a job could not be read from the store', { error: String(error) })
    })
  }

  /** Resolves when every send so far has been handed to the transport. */
  async settled(): Promise<void> {
    await Promise.all([...this.sending.values()].map(({ last }) => last))
  }

  // ------------------------------------------------------------ out

  /** Sends `to` what it lacks of this peer's own feed of `job`. */
  push(to: PeerId, job: JobId): Promise<void> {
    return this.inOrder(to, async () => {
      for (;;) {
        const run = await this.nextOwnRun(to, job)
        if (run === undefined) return
        if (this.parts.send(to, { kind: 'entries', runs: [run] })) continue
        this.sent.get(to)?.delete(job)
        return
      }
    })
  }

  /** Answers a steal: the run of this peer's feed that the thief lacks rides along, so a grant never comes without its entry. */
  answerSteal(
    to: PeerId,
    answer: Omit<Extract<WireMessage, { kind: 'stealAnswer' }>, 'kind' | 'runs'>,
  ): Promise<void> {
    return this.inOrder(to, async () => {
      const runs: Run[] = []
      for (;;) {
        const run = await this.nextOwnRun(to, answer.job)
        if (run === undefined) break
        runs.push(run)
      }
      const last = runs.pop()
      for (const run of runs) this.parts.send(to, { kind: 'entries', runs: [run] })
      this.parts.send(to, {
        kind: 'stealAnswer',
        ...answer,
        runs: last === undefined ? [] : [last],
      })
    })
  }

  /** The peer says how much of this peer's own feed it has: send from there. */
  peerHas(peer: PeerId, job: JobId, seq: number): void {
    const cursors = this.cursors(peer)
    if ((cursors.get(job) ?? 0) > seq) cursors.set(job, seq)
  }

  async publish(job: JobId): Promise<void> {
    for (;;) {
      const from = (this.gossiped.get(job) ?? 0) + 1
      const run = await this.parts.store.readRun(
        job,
        this.parts.self,
        from,
        MAX_RUN_MESSAGE_BYTES - 4096,
      )
      if (run === undefined || run.entries.length === 0) return
      this.gossiped.set(job, from + run.entries.length - 1)
      const isAuthor = this.parts.scheduler.job(job)?.author === this.parts.self.author
      this.parts.gossip(from === 1 && isAuthor ? 'jobs' : 'entries', [run])
    }
  }

  /** Everything held of a job, all feeds: for a peer that has none of it. */
  async sendJob(to: PeerId, job: JobId): Promise<void> {
    const heads = this.parts.store.heads(job)
    if (heads.length === 0) return
    const author = await this.authorOf(job)
    // The JOB first: what comes before it would be asked for once more.
    const ordered = [...heads].sort(
      (a, b) => Number(b.author === author) - Number(a.author === author),
    )
    return this.sendFeeds(
      to,
      job,
      ordered.map((head) => ({ ...feedOf(head), from: 1 })),
    )
  }

  private async authorOf(job: JobId): Promise<PeerId | undefined> {
    const view = this.parts.scheduler.job(job)
    if (view !== undefined) return view.author
    return (await this.parts.store.job(job))?.summary.author
  }

  sendFeeds(to: PeerId, job: JobId, feeds: readonly (FeedId & { from: number })[]): Promise<void> {
    return this.inOrder(to, async () => {
      for (const feed of feeds) {
        let from = feed.from
        for (;;) {
          const run = await this.parts.store.readRun(job, feedOf(feed), from, MAX_RUN_MESSAGE_BYTES)
          if (run === undefined || run.entries.length === 0) break
          if (!this.parts.send(to, { kind: 'entries', runs: [run] })) return
          from += run.entries.length
        }
        if (this.isOwn(feed))
          this.cursors(to).set(job, Math.max(this.cursors(to).get(job) ?? 0, from - 1))
      }
    })
  }

  /** Whether this peer has taken part in the job, also when it is over. */
  knows(job: JobId): boolean {
    return this.ended.has(job) || this.parts.scheduler.job(job) !== undefined
  }

  /** In parts when there are more feeds than one message holds: the other side compares feed by feed. */
  sendHeads(to: PeerId, job: JobId, reply: boolean): void {
    const heads = this.parts.store.heads(job)
    for (let i = 0; i === 0 || i < heads.length; i += MAX_HEADS_PER_MESSAGE) {
      const part = heads.slice(i, i + MAX_HEADS_PER_MESSAGE)
      this.parts.send(to, { kind: 'heads', job, heads: part, reply: reply && i === 0 })
    }
  }

  // ------------------------------------------------------------ in

  /** Takes runs in; false when one of them is a peer's fault. */
  receive(runs: readonly Run[], from: PeerId, direct: boolean): boolean {
    let clean = true
    const fresh = new Map<JobId, Entry[]>()
    for (const run of runs) {
      if (isOfNewerVersion(run.entries[0] ?? NOTHING)) {
        this.parts.newerLog(from)
        continue
      }
      if (isForeign(run)) {
        this.parts.strike(from, 'a feed under the session of another peer')
        clean = false
        continue
      }
      const result = this.parts.store.ingest(run)
      if (result.status === 'ok') {
        for (const entry of result.entries) {
          const list = fresh.get(entry.job)
          if (list === undefined) fresh.set(entry.job, [entry])
          else list.push(entry)
        }
      } else if (result.status === 'gap') {
        const feeds = [{ ...result.feed, from: result.have + 1 }]
        this.parts.send(from, { kind: 'pull', job: result.job, feeds })
      } else if (result.status === 'fork') {
        this.foundFork(result)
      } else {
        this.parts.strike(from, result.reason)
        clean = false
      }
    }
    for (const [job, entries] of fresh) {
      this.takeIn(job, entries, from, direct)
      // Was that all?
      if (direct && this.catchingUp.has(job)) this.sendHeads(from, job, true)
    }
    return clean
  }

  /** Version vectors differ: pull what is missing here, and tell what is here when asked. */
  compareHeads(from: PeerId, job: JobId, theirs: readonly FeedHead[], reply: boolean): void {
    const feeds = theirs.flatMap((head) => {
      const mine = this.parts.store.head(job, feedOf(head))
      const have = mine?.seq ?? 0
      // Two entries with one seq: the other one is asked for, and proves the fork.
      const differs = head.seq > 0 && head.seq === have && head.hash !== mine?.hash
      if (!differs && head.seq <= have) return []
      return [{ ...feedOf(head), from: differs ? have : have + 1 }]
    })
    if (feeds.length > 0) this.parts.send(from, { kind: 'pull', job, feeds })
    else if (this.catchingUp.delete(job)) this.parts.dispatch({ type: 'jobSynced', job })
    if (reply) this.sendHeads(from, job, false)
  }

  /** Whether this peer has collected the job: nothing of it is taken in any more. */
  isCollected(job: JobId): boolean {
    return this.parts.store.isCollected(job)
  }

  /** Asks the connected peers for a job that is not known here; false when none of them brought its JOB in time. */
  async want(job: JobId): Promise<boolean> {
    if (this.knows(job)) return true
    if (this.isCollected(job)) return false
    for (const peer of this.parts.connected()) this.parts.send(peer, { kind: 'jobWanted', job })
    return new Promise((resolve) => {
      const settle = (found: boolean): void => {
        clearTimeout(timer)
        this.wanted.delete(job)
        resolve(found)
      }
      const timer = setTimeout(() => settle(false), WANT_JOB_MS)
      const before = this.wanted.get(job)
      this.wanted.set(job, () => {
        before?.()
        settle(true)
      })
    })
  }

  /** Told once for each feed of a job in this process: the proof becomes an entry of the job's log. */
  private foundFork(fork: Extract<IngestResult, { status: 'fork' }>): void {
    const name = `${fork.job}${fork.feed.author}${fork.feed.session}`
    if (!this.forks.has(name)) {
      if (this.forks.size < MAX_FORKS_TOLD) this.forks.add(name)
      this.parts.strike(fork.feed.author, 'forked feed')
    }
    const { job, first, second } = fork
    if (first.length > MAX_FORK_PROOF_BYTES || second.length > MAX_FORK_PROOF_BYTES) return
    this.parts.dispatch({ type: 'forkFound', job, first, second })
  }

  private takeIn(job: JobId, entries: Entry[], from: PeerId, direct: boolean): void {
    const waiting = this.loading.get(job)
    if (waiting !== undefined) {
      if (waiting.length < MAX_BUFFERED_ENTRIES) waiting.push(...entries)
      else this.overflowed.add(job)
      return
    }
    const known = this.parts.scheduler.job(job) !== undefined
    if (known) {
      this.parts.dispatch({ type: 'entriesReceived', entries, from: direct ? from : undefined })
      return
    }
    if (this.ended.has(job)) {
      // What was done is lost, or was never so: the job may be open again.
      const reopens = entries.some(({ body }) => body.type === 'lost' || body.type === 'fork')
      if (reopens) this.parts.reopen(job)
      return
    }
    const opening = entries.find((entry) => entry.body.type === 'job')
    if (opening === undefined) {
      this.parts.send(from, { kind: 'jobWanted', job })
      return
    }
    if (opening.body.type === 'job' && jobIdOf(opening.body.spec) !== job) {
      this.parts.strike(from, 'JOB whose id is not the hash of its spec')
      return
    }
    void this.openJob(job, opening, entries, from, direct)
  }

  /** A JOB arrives: entries of it that came before it are read back, so that the scheduler sees the whole set. */
  private async openJob(
    job: JobId,
    opening: Entry,
    entries: Entry[],
    from: PeerId,
    direct: boolean,
  ): Promise<void> {
    const others = this.parts.store.heads(job).some((head) => head.session !== opening.session)
    if (others) {
      const meanwhile: Entry[] = []
      this.loading.set(job, meanwhile)
      try {
        for await (const entry of this.parts.store.entries(job)) entries.push(entry)
      } catch (error) {
        this.parts.log.error('a job could not be read from the store', { error: String(error) })
      }
      this.loading.delete(job)
      entries.push(...meanwhile)
    }
    const ordered = [opening, ...unique(entries).filter((entry) => entry.hash !== opening.hash)]
    this.parts.dispatch({
      type: 'entriesReceived',
      entries: ordered,
      from: direct ? from : undefined,
    })
    this.parts.jobArrived(job, opening.author, direct ? from : undefined)
    this.readAgain(job)
    this.wanted.get(job)?.()
  }

  // ------------------------------------------------------------ helpers

  private async nextOwnRun(to: PeerId, job: JobId): Promise<Run | undefined> {
    const cursors = this.cursors(to)
    const from = (cursors.get(job) ?? 0) + 1
    const run = await this.parts.store.readRun(job, this.parts.self, from, MAX_RUN_MESSAGE_BYTES)
    if (run === undefined || run.entries.length === 0) return undefined
    cursors.set(job, from + run.entries.length - 1)
    return run
  }

  private isOwn(feed: FeedId): boolean {
    return feed.session === this.parts.self.session && feed.author === this.parts.self.author
  }

  private cursors(peer: PeerId): Map<JobId, number> {
    let cursors = this.sent.get(peer)
    if (cursors === undefined) this.sent.set(peer, (cursors = new Map()))
    return cursors
  }

  private inOrder(peer: PeerId, work: () => Promise<void>): Promise<void> {
    let chain = this.sending.get(peer)
    if (chain === undefined) {
      chain = { last: Promise.resolve(), waiting: 0 }
      this.sending.set(peer, chain)
    }
    if (chain.waiting >= MAX_WAITING_SENDS) return chain.last
    const mine = chain
    mine.waiting += 1
    mine.last = mine.last
      .then(work)
      .catch((error: unknown) => {
        this.parts.log.warn('send failed', { peer: peer.slice(0, 8), error: String(error) })
      })
      .then(() => {
        mine.waiting -= 1
      })
    return mine.last
  }
}

export function feedOf(head: { author: PeerId; session: SessionId }): FeedId {
  return { author: head.author, session: head.session }
}

/** Owners are sessions: nobody writes under another's. What cannot be read is the store's to refuse. */
function isForeign(run: Run): boolean {
  try {
    const { author, session } = decodeHeader(run.entries[0] ?? NOTHING)
    return !isSessionOf(session, author)
  } catch {
    return false
  }
}

function unique(entries: readonly Entry[]): Entry[] {
  const seen = new Set<string>()
  return entries.filter((entry) => !seen.has(entry.hash) && seen.add(entry.hash))
}

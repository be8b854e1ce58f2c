import type { JobId } from '../scheduler/types.ts'
import { decodeEntry } from './entry-codec.ts'
import { auditKey, type FeedAudit, FeedAuditor } from './feed-audit.ts'
import { feedName } from './feed-table.ts'
import type { Change, KeyValue, Row } from './key-value.ts'
import {
  feedKey,
  feedOfKey,
  jobKey,
  jobOfKey,
  jobRange,
  keyLength,
  kindRange,
  PREFIX,
} from './keys.ts'
import { SWEEP_BATCH_CHANGES } from './limits.ts'
import {
  entryValue,
  feedsValue,
  headValue,
  jobValue,
  readable,
  readEntryValue,
  readFeedsValue,
  readForkValue,
  readHeadValue,
  readJobValue,
  waitingValue,
} from './records.ts'
import { checkSchema, SCHEMA, SCHEMA_KEY } from './schema.ts'
import type { VerifyEnd } from './signatures.ts'
import type { FeedId, StoredJob, StoreRepair } from './types.ts'

export interface SweepOptions {
  readonly dir: string
  readonly verify: VerifyEnd
  /** Something may be gone without a trace: no ended job is taken to be complete. */
  readonly lost: boolean
}

export type SweepResult = Pick<StoreRepair, 'entriesKept' | 'entriesDropped' | 'jobs'>

interface JobFacts {
  readonly feeds: Map<string, FeedId>
  bytes: number
  /** The feed that holds the JOB entry. */
  opening: FeedId | undefined
  /** Entries are known to be missing. */
  lost: boolean
}

/**
 * Makes a database whose rows may be old, missing or changed consistent again, from what proves itself: the entries, by their links
 * and signatures. Heads and lists of feeds are made anew from them; views are dropped (the jobs whose views are to be made anew stay
 * marked until that is done); records of jobs that cannot be complete say `running`, so that the rest is pulled.
 */
export async function sweepStore(kv: KeyValue, options: SweepOptions): Promise<SweepResult> {
  return new Sweep(kv, options).run()
}

class Sweep {
  private readonly kv: KeyValue
  private readonly options: SweepOptions
  private readonly jobs = new Map<JobId, JobFacts>()
  /** Jobs that were collected or were being deleted: what is there of them goes. */
  private readonly gone = new Set<JobId>()
  private readonly leftovers = new Set<JobId>()
  private changes: Change[] = []
  private kept = 0
  private dropped = 0

  constructor(kv: KeyValue, options: SweepOptions) {
    this.kv = kv
    this.options = options
  }

  async run(): Promise<SweepResult> {
    checkSchema(this.options.dir, this.kv.getSync(SCHEMA_KEY))
    this.put(SCHEMA_KEY, Buffer.of(SCHEMA))
    for await (const [key] of this.rows(PREFIX.tombstone)) this.gone.add(jobOfKey(key))
    for await (const [key] of this.rows(PREFIX.deleted)) this.gone.add(jobOfKey(key))
    await this.sweepEntries()
    await this.sweepHeads()
    await this.sweepForks()
    for (const prefix of [PREFIX.owner, PREFIX.done, PREFIX.waiting, PREFIX.views]) {
      await this.kv.clear(kindRange(prefix))
    }
    await this.sweepLists()
    await this.sweepRecords()
    for (const job of this.leftovers) this.put(jobKey(PREFIX.deleted, job), Buffer.alloc(0))
    await this.write(true)
    const jobs = [...this.jobs].filter(([, { opening }]) => opening !== undefined)
    return {
      entriesKept: this.kept,
      entriesDropped: this.dropped,
      jobs: jobs.map(([job]) => job),
    }
  }

  // ------------------------------------------------------------ feeds

  private async sweepEntries(): Promise<void> {
    const auditor = new FeedAuditor(this.options.verify)
    for await (const [key, value] of this.rows(PREFIX.entry)) {
      const job = jobOfKey(key)
      if (this.gone.has(job)) {
        this.leftovers.add(job)
        continue
      }
      const audit = auditor.add(key, value)
      if (audit !== undefined) await this.settleFeed(audit)
    }
    const last = auditor.end()
    if (last !== undefined) await this.settleFeed(last)
  }

  private async settleFeed(audit: FeedAudit): Promise<void> {
    const { job, feed, seq, hash } = audit
    const facts = this.facts(job)
    for (const each of audit.dropped) this.put(auditKey(audit, each))
    for (const each of audit.unsigned) {
      const value = this.kv.getSync(auditKey(audit, each))!
      this.put(auditKey(audit, each), entryValue(readEntryValue(value).bytes, undefined))
    }
    this.kept += seq
    this.dropped += audit.dropped.length
    if (audit.dropped.length > 0) facts.lost = true
    if (seq > 0) {
      const key = feedKey(PREFIX.head, job, feed)
      const value = this.kv.getSync(key)
      const head = value && readable(() => readHeadValue(value))
      if (head === undefined || head.seq > seq) facts.lost = true
      this.put(key, headValue(seq, hash))
      facts.feeds.set(feedName(feed), feed)
      facts.bytes += audit.bytes
      if (audit.opening) facts.opening = feed
    }
    await this.write()
  }

  /** Heads of feeds of which nothing is left. */
  private async sweepHeads(): Promise<void> {
    for await (const [key] of this.rows(PREFIX.head)) {
      const job = jobOfKey(key)
      if (this.isLeftover(job)) continue
      if (this.jobs.get(job)?.feeds.has(feedName(feedOfKey(key))) === true) continue
      this.facts(job).lost = true
      this.put(key)
    }
    await this.write()
  }

  private async sweepForks(): Promise<void> {
    for await (const [key, value] of this.rows(PREFIX.fork)) {
      if (this.isLeftover(jobOfKey(key))) continue
      if (readable(() => readForkValue(value)) === undefined) this.put(key)
    }
  }

  // ------------------------------------------------------------ jobs

  /** The lists of feeds of ended jobs: they tell which feeds there were. */
  private async sweepLists(): Promise<void> {
    const listed = new Set<JobId>()
    for await (const [key, value] of this.rows(PREFIX.feeds)) {
      const job = jobOfKey(key)
      if (this.isLeftover(job)) continue
      listed.add(job)
      const { feeds } = this.facts(job)
      const missing = readFeedsValue(value).some((feed) => !feeds.has(feedName(feed)))
      if (missing) this.facts(job).lost = true
      this.put(key)
    }
    // An ended job has its list; one without lost it, and maybe more.
    for (const [job, facts] of this.jobs) if (!listed.has(job)) facts.lost = true
  }

  private async sweepRecords(): Promise<void> {
    const recorded = new Set<JobId>()
    for await (const [key, value] of this.rows(PREFIX.job)) {
      const job = jobOfKey(key)
      if (this.isLeftover(job)) continue
      const record = readable(() => readJobValue(job, value))
      if (record === undefined || this.jobs.get(job)?.opening === undefined) {
        this.put(key)
        continue
      }
      recorded.add(job)
      this.settleRecord(record, this.facts(job))
    }
    for (const [job, { opening, bytes }] of this.jobs) {
      if (opening === undefined) this.put(jobKey(PREFIX.waiting, job), waitingValue(bytes))
      else {
        this.put(jobKey(PREFIX.views, job), Buffer.alloc(0))
        if (!recorded.has(job)) await this.makeRecord(job)
      }
      await this.write()
    }
  }

  private settleRecord(record: StoredJob, { feeds, lost }: JobFacts): void {
    const { job, state, updatedAt } = record
    if (state === 'running') return
    if (!lost && !this.options.lost) {
      this.put(jobKey(PREFIX.feeds, job), feedsValue([...feeds.values()]))
      return
    }
    const { finishedAt: _, ...summary } = record.summary
    const running: StoredJob = { job, state: 'running', updatedAt, summary }
    this.put(jobKey(PREFIX.job, job), jobValue(running))
  }

  /** A job whose record is gone, as its JOB entry tells it. */
  private async makeRecord(job: JobId): Promise<void> {
    for await (const rows of this.kv.rows(jobRange(PREFIX.entry, job))) {
      for (const [, value] of rows) {
        const entry = readable(() => decodeEntry(readEntryValue(value).bytes))
        if (entry?.body.type !== 'job') continue
        const { spec, at } = entry.body
        const counts = { items: spec.input.count, done: 0, failed: 0 }
        const summary = { ...counts, submittedAt: at, author: entry.author, spec }
        const record: StoredJob = { job, state: 'running', updatedAt: at, summary }
        this.put(jobKey(PREFIX.job, job), jobValue(record))
        return
      }
    }
  }

  // ------------------------------------------------------------ rows

  private facts(job: JobId): JobFacts {
    let facts = this.jobs.get(job)
    if (facts === undefined) {
      facts = { feeds: new Map(), bytes: 0, opening: undefined, lost: false }
      this.jobs.set(job, facts)
    }
    return facts
  }

  private isLeftover(job: JobId): boolean {
    const gone = this.gone.has(job)
    if (gone) this.leftovers.add(job)
    return gone
  }

  private async *rows(prefix: (typeof PREFIX)[keyof typeof PREFIX]): AsyncIterable<Row> {
    const length = keyLength(prefix)
    for await (const rows of this.kv.rows(kindRange(prefix))) {
      for (const row of rows) {
        if (row[0].length === length) yield row
        else this.put(row[0])
      }
    }
  }

  private put(key: Buffer, value?: Uint8Array): void {
    this.changes.push(value === undefined ? { key } : { key, value })
  }

  private async write(all = false): Promise<void> {
    if (!all && this.changes.length < SWEEP_BATCH_CHANGES) return
    await this.kv.write(this.changes.splice(0), all)
  }
}

import type { JobId } from '../scheduler/types.ts'
import { type FeedAudit, FeedAuditor } from './feed-audit.ts'
import { feedName } from './feed-table.ts'
import type { KeyValue, Row } from './key-value.ts'
import { feedOfKey, jobOfKey, jobRange, type KeyRange, kindRange, PREFIX } from './keys.ts'
import { readHeadValue, readWaitingValue } from './records.ts'
import type { FeedHead, FeedId } from './types.ts'

/** What a store has in memory from its start. */
export interface LoadedStore {
  readonly forks: readonly { readonly job: JobId; readonly feed: FeedId }[]
  /** Heads of the jobs that have not ended, by job. */
  readonly heads: ReadonlyMap<JobId, readonly FeedHead[]>
  readonly waiting: readonly (readonly [JobId, { bytes: number; order: number }])[]
  /** Jobs whose views are to be made anew. */
  readonly unmade: readonly JobId[]
}

/**
 * Reads it, and with it the feeds of jobs that go on, from their first entries: heads and entries are written in one batch, so one
 * without the other is what the disk lost. ERR_MESH_PROTOCOL for values that nobody wrote.
 */
export async function loadStore(
  kv: KeyValue,
  damaged: (what: string) => Error,
): Promise<LoadedStore> {
  const forks: { job: JobId; feed: FeedId }[] = []
  for await (const [key] of rowsOf(kv, kindRange(PREFIX.fork))) {
    forks.push({ job: jobOfKey(key), feed: feedOfKey(key) })
  }
  const heads = await readHeads(kv)
  for (const [job, each] of heads) {
    if (await isWhole(kv, job, each)) continue
    throw damaged(`entries of job ${job.slice(0, 8)} are missing or changed`)
  }
  const waiting: [JobId, { bytes: number; order: number }][] = []
  for await (const [key, value] of rowsOf(kv, kindRange(PREFIX.waiting))) {
    waiting.push([jobOfKey(key), readWaitingValue(value)])
  }
  return { forks, heads, waiting, unmade: await jobsOf(kv, kindRange(PREFIX.views)) }
}

/** The jobs that the keys of a range name, in order. */
export async function jobsOf(kv: KeyValue, range: KeyRange): Promise<JobId[]> {
  const jobs: JobId[] = []
  for await (const [key] of rowsOf(kv, range)) jobs.push(jobOfKey(key))
  return jobs
}

export async function* rowsOf(kv: KeyValue, range: KeyRange): AsyncIterable<Row> {
  for await (const rows of kv.rows(range)) yield* rows
}

async function readHeads(kv: KeyValue): Promise<Map<JobId, FeedHead[]>> {
  const ended = new Set(await jobsOf(kv, kindRange(PREFIX.feeds)))
  const jobs = new Map<JobId, FeedHead[]>()
  for await (const [key, value] of rowsOf(kv, kindRange(PREFIX.head))) {
    const job = jobOfKey(key)
    if (ended.has(job)) continue
    const head = { ...feedOfKey(key), ...readHeadValue(value) }
    const heads = jobs.get(job)
    if (heads === undefined) jobs.set(job, [head])
    else heads.push(head)
  }
  return jobs
}

async function isWhole(kv: KeyValue, job: JobId, heads: readonly FeedHead[]): Promise<boolean> {
  const auditor = new FeedAuditor()
  const found = new Map<string, FeedAudit>()
  const keep = (audit: FeedAudit | undefined): void => {
    if (audit !== undefined) found.set(feedName(audit.feed), audit)
  }
  for await (const [key, value] of rowsOf(kv, jobRange(PREFIX.entry, job))) {
    keep(auditor.add(key, value))
  }
  keep(auditor.end())
  const agree = heads.every((head) => {
    const audit = found.get(feedName(head))
    return audit?.seq === head.seq && audit.hash === head.hash && audit.dropped.length === 0
  })
  return agree && found.size === heads.length
}

import { MeshError } from '../base/errors.ts'
import type { JobId, PeerId } from '../scheduler/types.ts'
import type { StoredJob } from '../store/types.ts'
import type { Peer } from './peer.ts'

const MIN_PREFIX = 4

/** One job that this peer knows: `view` while it is in memory, else only the record. */
export interface Found {
  readonly job: JobId
  readonly record: StoredJob | undefined
}

/**
 * The job that a user means, by an id, a unique prefix or 'last'. What is not known here is asked of the connected peers, and its log
 * taken in.
 * @throws ERR_MESH_JOB_UNKNOWN, ERR_MESH_JOB_AMBIGUOUS, ERR_MESH_JOB_COLLECTED
 */
export async function lookUpJob(peer: Peer, text: string): Promise<Found> {
  const id = text.toLowerCase()
  if (peer.scheduler.job(id as JobId) !== undefined) return { job: id as JobId, record: undefined }
  const exact = isWhole(id) ? await peer.store.job(id as JobId) : undefined
  if (exact !== undefined) return { job: exact.job, record: exact }
  const records = await peer.store.jobs()
  if (id === 'last') return last(peer, records)
  if (!/^[0-9a-f]+$/.test(id) || id.length < MIN_PREFIX || id.length > 64) throw notAnId(text)
  const here = await known(peer, records, id)
  if (here !== undefined) return here
  const collected = await wasCollected(peer, id)
  if (collected !== undefined) throw collected
  await peer.upkeep.firstContact()
  const whole = id.length === 64 ? (id as JobId) : await whoseId(peer, id)
  if (whole === undefined || !(await peer.replication.want(whole))) throw unknown(peer, text)
  return (await known(peer, await peer.store.jobs(), whole)) ?? fail(unknown(peer, text))
}

function isWhole(id: string): boolean {
  return /^[0-9a-f]{64}$/.test(id)
}

/** A job that a prefix fits, in memory or in the store; the same job may be in both. */
async function known(
  peer: Peer,
  records: readonly StoredJob[],
  prefix: string,
): Promise<Found | undefined> {
  const fits = new Map<JobId, StoredJob | undefined>()
  for (const { job } of peer.scheduler.jobs()) if (job.startsWith(prefix)) fits.set(job, undefined)
  for (const record of records) {
    if (record.job.startsWith(prefix) && !fits.has(record.job)) fits.set(record.job, record)
  }
  if (fits.size > 1) throw ambiguous(prefix, [...fits.keys()])
  for (const [job, record] of fits) return { job, record }
  return undefined
}

function last(peer: Peer, records: readonly StoredJob[]): Found {
  const all: { job: JobId; author: PeerId; submittedAt: number; record: StoredJob | undefined }[] =
    peer.scheduler.jobs().map((view) => ({ ...view, record: undefined }))
  const inMemory = new Set(all.map(({ job }) => job))
  for (const record of records) {
    if (inMemory.has(record.job)) continue
    const { author, submittedAt } = record.summary
    all.push({ job: record.job, author, submittedAt, record })
  }
  all.sort((a, b) => b.submittedAt - a.submittedAt || (a.job < b.job ? -1 : 1))
  const found = all.find(({ author }) => author === peer.id) ?? all[0]
  if (found !== undefined) return found
  throw new MeshError('ERR_MESH_JOB_UNKNOWN', 'there is no job yet: submit one with `mesh submit`')
}

/** The whole id that connected peers know for a prefix. */
async function whoseId(peer: Peer, prefix: string): Promise<JobId | undefined> {
  const ids = await peer.upkeep.finder.find(prefix)
  if (ids.length > 1) throw ambiguous(prefix, ids)
  return ids[0]
}

async function wasCollected(peer: Peer, id: string): Promise<MeshError | undefined> {
  const { book } = peer.upkeep.retention
  const job = id.length === 64 ? (id as JobId) : book.collectedLike(id)[0]
  return job === undefined || !peer.store.isCollected(job) ? undefined : collectedError(peer, job)
}

/** Of a job that has a tombstone here. */
export function collectedError(peer: Peer, job: JobId): MeshError {
  const at = peer.upkeep.retention.book.collectedAt(job)
  const when = at === undefined ? 'some time ago' : `at ${new Date(at).toISOString()}`
  return new MeshError(
    'ERR_MESH_JOB_COLLECTED',
    `job ${job.slice(0, 8)} is over and its results are gone from this peer: it was collected ${when}; \`mesh join --keep\` and \`--keep-size\` say how long and how much is kept`,
    { details: { job, collectedAt: at === undefined ? null : new Date(at).toISOString() } },
  )
}

function ambiguous(prefix: string, ids: readonly JobId[]): MeshError {
  const some = ids.slice(0, 4).map((id) => id.slice(0, 12))
  return new MeshError(
    'ERR_MESH_JOB_AMBIGUOUS',
    `"${prefix}" fits ${ids.length} jobs (${some.join(', ')}…): give more characters`,
    { details: { matches: [...ids] } },
  )
}

function notAnId(text: string): MeshError {
  return new MeshError(
    'ERR_MESH_JOB_UNKNOWN',
    text.length < MIN_PREFIX
      ? `"${text}" is too short for a job id: give at least ${MIN_PREFIX} characters, or "last"`
      : `"${text}" is no job id: it has 64 hex characters (or the first of them), or is "last"`,
  )
}

function unknown(peer: Peer, text: string): MeshError {
  const others = peer.transport.connected().length
  const where =
    others === 0
      ? 'known here, and no other peer is connected'
      : `known here or to ${others === 1 ? 'the connected peer' : `the ${others} connected peers`}`
  return new MeshError(
    'ERR_MESH_JOB_UNKNOWN',
    `no job "${text}" is ${where}: \`mesh jobs\` lists those of this peer`,
  )
}

function fail(error: MeshError): never {
  throw error
}

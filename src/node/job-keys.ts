/** Idempotency keys: the nonce of a job follows from its key, so that the same work under the same key is the same job. */
import { createHash } from 'node:crypto'
import { MeshError } from '../base/errors.ts'
import type { JobId, JobSpec } from '../scheduler/types.ts'
import type { Store } from '../store/types.ts'
import { collectedError } from './job-lookup.ts'
import type { Peer } from './peer.ts'

/** docs/protocol.md, "The job". */
export function nonceOfKey(key: string): string {
  return createHash('sha256')
    .update('meshwork key')
    .update('\0')
    .update(key)
    .digest('hex')
    .slice(0, 32)
}

/** Which jobs have which key, as their nonces say: looked up at each submission with a key, here and by other peers. */
export class KeyBook {
  private readonly store: Pick<Store, 'jobs'>
  private readonly byNonce = new Map<string, Set<JobId>>()
  private readonly nonces = new Map<JobId, string>()
  private loaded: Promise<void> | undefined

  constructor(store: Pick<Store, 'jobs'>) {
    this.store = store
  }

  /** A job that came, or was submitted. */
  note(job: JobId, { nonce, options }: JobSpec): void {
    if (options.key === undefined || this.nonces.has(job)) return
    this.nonces.set(job, nonce)
    const jobs = this.byNonce.get(nonce)
    if (jobs === undefined) this.byNonce.set(nonce, new Set([job]))
    else jobs.add(job)
  }

  /** A job that is collected. */
  drop(job: JobId): void {
    const nonce = this.nonces.get(job)
    if (nonce === undefined) return
    this.nonces.delete(job)
    const jobs = this.byNonce.get(nonce)
    jobs?.delete(job)
    if (jobs?.size === 0) this.byNonce.delete(nonce)
  }

  async jobsOf(nonce: string): Promise<JobId[]> {
    // What is in the store from before is read once.
    this.loaded ??= this.load()
    await this.loaded
    return [...(this.byNonce.get(nonce) ?? [])]
  }

  private async load(): Promise<void> {
    for (const { job, summary } of await this.store.jobs()) this.note(job, summary.spec)
  }
}

/**
 * Whether the job is there already, here or on a connected peer; then its log is taken in.
 * @throws ERR_MESH_KEY_REUSED when the key is that of other work, ERR_MESH_JOB_COLLECTED when the job was, here
 */
export async function isThere(peer: Peer, job: JobId, spec: JobSpec): Promise<boolean> {
  const { nonce } = spec
  if (peer.store.isCollected(job)) throw collectedError(peer, job)
  const { keys, finder } = peer.upkeep
  const here = await keys.jobsOf(nonce)
  if (here.includes(job)) return true
  if (here[0] !== undefined) throw reused(spec, here[0])
  await peer.upkeep.firstContact()
  const there = await finder.findNonce(nonce)
  if (there.includes(job)) return peer.replication.want(job)
  for (const other of there) {
    // What peers say is true when the JOB says the same.
    if (!(await peer.replication.want(other))) continue
    if ((await keys.jobsOf(nonce)).includes(other)) throw reused(spec, other)
  }
  return false
}

function reused({ options }: JobSpec, job: JobId): MeshError {
  return new MeshError(
    'ERR_MESH_KEY_REUSED',
    `the key ${JSON.stringify(options.key)} is that of job ${job.slice(0, 8)}, which is other work (another task, input or option): use another key, or \`mesh results ${job.slice(0, 8)}\``,
    { details: { key: options.key, job } },
  )
}

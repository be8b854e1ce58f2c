import { randomBytes } from 'node:crypto'
import { sha256Hex, toHex } from '../base/bytes.ts'
import { isMeshError, MeshError } from '../base/errors.ts'
import type { Plan } from '../scheduler/plan.ts'
import type { BlobHash, JobId, JobSpec } from '../scheduler/types.ts'
import { jobIdOf, specBytes } from '../store/entry-codec.ts'
import { MAX_INLINE_PLAN_BYTES, MAX_SPEC_BYTES } from '../store/limits.ts'
import { encodePlan } from '../store/plan-codec.ts'
import { handOverJob } from './hand-over.ts'
import { isThere, nonceOfKey } from './job-keys.ts'
import type { Peer } from './peer.ts'
import { checkPlan, planIn } from './plans.ts'
import type { JobRequest, SubmitReply } from './types.ts'

/** CBOR's head of the plan's bytes. */
const PLAN_HEADER_BYTES = 3

/** Turns what a local caller wants into jobs of the mesh. */
export class Submissions {
  private readonly peer: Peer
  /** Submissions under way, by the nonce of their key. */
  private readonly keyed = new Map<string, Promise<unknown>>()

  constructor(peer: Peer) {
    this.peer = peer
  }

  /**
   * @throws ERR_MESH_KEY_REUSED, ERR_MESH_JOB_COLLECTED, ERR_MESH_TOO_LARGE, ERR_MESH_PLAN_INVALID, ERR_MESH_DISK_FULL, ERR_MESH_STOPPED
   */
  async submit(request: JobRequest): Promise<SubmitReply> {
    await this.peer.upkeep.disk.assertRoom()
    const { input, options } = request
    const { key } = options
    const nonce = key === undefined ? toHex(randomBytes(16)) : nonceOfKey(key)
    const { task, plan } = await this.withPlan(request)
    const { job, spec } = named({ v: 1, task, input, options, nonce }, plan)
    if (plan !== undefined && !ridesInJob(spec)) {
      await this.peer.upkeep.disk.assertRoom(plan.bytes.byteLength)
      await this.peer.store.blobs.put(plan.bytes)
    }
    const begin = () => this.begin(job, spec, plan, request.detach === true)
    if (key === undefined) return begin()
    return this.alone(nonce, async () => {
      if (!(await isThere(this.peer, job, spec))) return begin()
      return { job, heldBy: this.peer.jobs.acknowledgedBy(job), attached: true }
    })
  }

  private async begin(
    job: JobId,
    spec: JobSpec,
    encoded: EncodedPlan | undefined,
    detach: boolean,
  ): Promise<SubmitReply> {
    const { peer } = this
    await peer.submit(job, spec, peer.clock.wall(), encoded?.plan)
    await peer.upkeep.submitted(spec)
    if (!detach) return { job, heldBy: peer.jobs.acknowledgedBy(job) }
    return { job, heldBy: await handOverJob(peer, job, spec) }
  }

  /** A composition's plan, and the task that names it; over the control socket it came as a blob. */
  private async withPlan(
    request: JobRequest,
  ): Promise<Pick<JobRequest, 'task'> & { plan?: EncodedPlan }> {
    const { task, input } = request
    if (task.kind !== 'graph') return { task }
    const { blobs } = this.peer.store
    const plan = request.plan ?? (await planIn(blobs, task.bundle))
    checkPlan(plan, input.count)
    const bytes = encodePlan(plan)
    const bundle = sha256Hex(bytes) as BlobHash
    const { kind, name } = task
    return { task: { kind, name, bundle, bundleBytes: bytes.byteLength }, plan: { plan, bytes } }
  }

  /** Two submissions with one key at once are looked at one after the other. */
  private alone<T>(nonce: string, work: () => Promise<T>): Promise<T> {
    const before = this.keyed.get(nonce) ?? Promise.resolve()
    const mine = before.then(work)
    const done = mine.catch(() => undefined)
    this.keyed.set(nonce, done)
    void done.then(() => {
      if (this.keyed.get(nonce) === done) this.keyed.delete(nonce)
    })
    return mine
  }
}

interface EncodedPlan {
  readonly plan: Plan
  readonly bytes: Uint8Array
}

function ridesInJob({ task }: JobSpec): boolean {
  return task.kind === 'graph' && task.plan !== undefined
}

/** With the plan in it, where both fit. */
function specOf(spec: JobSpec, encoded: EncodedPlan | undefined): JobSpec {
  const { task } = spec
  if (encoded === undefined || task.kind !== 'graph') return spec
  const { bytes } = encoded
  const room = MAX_SPEC_BYTES - specBytes(spec) - PLAN_HEADER_BYTES
  if (bytes.byteLength > Math.min(MAX_INLINE_PLAN_BYTES, room)) return spec
  return { ...spec, task: { ...task, plan: toHex(bytes) } }
}

/** Each part is within its limit here; together they may be more than a JOB holds. */
function named(
  given: JobSpec,
  encoded: EncodedPlan | undefined,
): { readonly job: JobId; readonly spec: JobSpec } {
  try {
    const spec = specOf(given, encoded)
    return { job: jobIdOf(spec), spec }
  } catch (error) {
    if (!isMeshError(error, 'ERR_MESH_PROTOCOL')) throw error
    throw new MeshError(
      'ERR_MESH_TOO_LARGE',
      `the job does not fit into one log entry (${error.message}): give fewer args, labels or controllers`,
      { cause: error },
    )
  }
}

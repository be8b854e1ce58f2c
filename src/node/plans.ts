import { fromHex } from '../base/bytes.ts'
import { isMeshError, MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { pause } from '../base/pause.ts'
import { scanSegments } from '../runtime/segment.ts'
import type { Plan, PlanNode } from '../scheduler/plan.ts'
import { planFault } from '../scheduler/plan-check.ts'
import type {
  BlobHash,
  GraphTask,
  JobId,
  SchedulerCore,
  SchedulerEffect,
  SchedulerEvent,
} from '../scheduler/types.ts'
import { MAX_PLAN_BYTES } from '../store/limits.ts'
import { decodePlan } from '../store/plan-codec.ts'
import type { BlobStore } from '../store/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import type { MissingInputs } from './input-loss.ts'
import { MAX_FAIL_MESSAGE } from './limits.ts'

type LoadPlan = Extract<SchedulerEffect, { type: 'loadPlan' }>

/** The plan in a blob that is here. @throws ERR_MESH_PLAN_INVALID */
export async function planIn(
  blobs: Pick<BlobStore, 'get' | 'size'>,
  hash: BlobHash,
): Promise<Plan> {
  const sizeBytes = await blobs.size(hash)
  if (sizeBytes !== undefined && sizeBytes > MAX_PLAN_BYTES) {
    throw planInvalid(`it has ${sizeBytes} bytes, at most ${MAX_PLAN_BYTES} are allowed`)
  }
  return planOf(await blobs.get(hash))
}

type InlineOrBlob = Pick<GraphTask, 'bundle'> & { readonly plan?: string | undefined }

/** The plan of a composition: it rides in the JOB, or is a blob, which `bring` fetches. @throws ERR_MESH_PLAN_INVALID, and as `bring` */
export async function planOfTask(
  blobs: Pick<BlobStore, 'get' | 'size'>,
  { plan, bundle }: InlineOrBlob,
  bring: (hash: BlobHash) => Promise<unknown>,
): Promise<Plan> {
  if (plan !== undefined) return planOf(fromHex(plan))
  await bring(bundle)
  return planIn(blobs, bundle)
}

/** @throws ERR_MESH_PLAN_INVALID */
function planOf(bytes: Uint8Array): Plan {
  try {
    return decodePlan(bytes)
  } catch (error) {
    throw isMeshError(error, 'ERR_MESH_PROTOCOL') ? planInvalid(error.message, error) : error
  }
}

/** What a plan says fits together, and its job. @throws ERR_MESH_PLAN_INVALID */
export function checkPlan(plan: Plan, items: number): void {
  const fault = planFault(plan, items)
  if (fault !== undefined) throw planInvalid(fault)
  for (const [k, node] of plan.nodes.entries()) checkValues(node, k)
}

function checkValues({ input, count, combine }: PlanNode, k: number): void {
  if (input.kind !== 'values') return
  const elements = combine?.total ?? count
  let there = 0
  try {
    for (const { hi } of scanSegments(input.segment, 0)) there = hi
  } catch (cause) {
    throw planInvalid(`node ${k}: its values cannot be read`, cause)
  }
  if (there !== elements) throw planInvalid(`node ${k}: it has ${there} values for ${elements}`)
}

function planInvalid(why: string, cause?: unknown): MeshError {
  return new MeshError('ERR_MESH_PLAN_INVALID', `the plan makes no sense: ${why}`, { cause })
}

export interface PlansParts {
  readonly blobs: Pick<BlobStore, 'get' | 'size'>
  readonly exchange: Pick<BlobExchange, 'ensure'>
  readonly scheduler: Pick<SchedulerCore, 'job'>
  readonly dispatch: (event: SchedulerEvent) => void
  /** Says when a plan that nobody holds is lost for good. */
  readonly missing: Pick<MissingInputs, 'note' | 'retryMs' | 'found'>
  /** Default: pause(). */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>
  readonly log: Logger
}

/** Carries out loadPlan: brings the plans of compositions here, again and again until the job is over. */
export class Plans {
  private readonly parts: PlansParts
  private readonly loading = new Set<JobId>()
  private readonly closed = new AbortController()

  constructor(parts: PlansParts) {
    this.parts = parts
  }

  load(effect: LoadPlan): void {
    const { job } = effect
    if (this.loading.has(job)) return
    this.loading.add(job)
    this.bring(effect)
      .catch((error: unknown) => {
        if (!this.closed.signal.aborted) {
          this.parts.log.warn('a plan is not here', { job: job.slice(0, 8), error: String(error) })
        }
      })
      .finally(() => this.loading.delete(job))
  }

  close(): void {
    this.closed.abort()
  }

  private async bring(effect: LoadPlan): Promise<void> {
    const { dispatch, missing, scheduler, wait = pause } = this.parts
    const { job, from } = effect
    for (;;) {
      const answer = await this.tryOnce(effect)
      if (this.closed.signal.aborted) return
      if (!isMeshError(answer)) {
        missing.found(job)
        dispatch({ type: 'planLoaded', job, plan: answer })
        return
      }
      const lost = answer.code === 'ERR_MESH_INPUT_LOST' && missing.note(job, from, answer)
      if (lost || answer.code === 'ERR_MESH_PLAN_INVALID') {
        const message = answer.message.slice(0, MAX_FAIL_MESSAGE)
        dispatch({ type: 'planInvalid', job, code: answer.code, message })
        return
      }
      const state = scheduler.job(job)?.state
      if (state === undefined || state === 'finished' || state === 'cancelled') return
      await wait(missing.retryMs(job), this.closed.signal)
    }
  }

  private async tryOnce({ job, plan: hash, from }: LoadPlan): Promise<Plan | MeshError> {
    const { blobs, exchange, scheduler } = this.parts
    try {
      const view = scheduler.job(job)
      const task = view?.spec.task
      const inline = task?.kind === 'graph' ? task.plan : undefined
      const bring = () => exchange.ensure(hash, [from])
      const plan = await planOfTask(blobs, { bundle: hash, plan: inline }, bring)
      const items = view?.items
      if (items !== undefined) checkPlan(plan, items)
      return plan
    } catch (error) {
      if (isMeshError(error)) return error
      return new MeshError('ERR_MESH_INTERNAL', `the plan cannot be read: ${String(error)}`, {
        cause: error,
      })
    }
  }
}

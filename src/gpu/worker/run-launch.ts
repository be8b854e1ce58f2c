/** One launch in the GPU process: checked, made ready, computed box by box, handed over. */

import { performance } from 'node:perf_hooks'
import { MeshError } from '../../base/errors.ts'
import { elementsOf } from '../../base/extents.ts'
import { report, reportParts } from '../../runtime/worker/reporter.ts'
import { MAX_LAUNCH_BYTES, MAX_MESSAGE_CHARS } from '../limits.ts'
import { ELEMENT_BYTES, type Engine, isOutOfMemory, type LaunchPlan } from './engine.ts'
import {
  type FailedMessage,
  type LaunchMessage,
  MESSAGE,
  type StartedMessage,
  type Usage,
  writeDoneHead,
} from './messages.ts'
import { boxesFor, type Planner } from './plan.ts'

/** Reports what became of it; never rejects. */
export async function runLaunch(
  engine: Engine,
  planner: Planner,
  message: LaunchMessage,
): Promise<void> {
  const { id } = message
  try {
    const { parts, ...times } = await compute(engine, planner, message, () =>
      report(MESSAGE.started, { id } satisfies StartedMessage),
    )
    reportParts(MESSAGE.done, [writeDoneHead({ id, ...times, ...usage(engine) }), ...parts])
  } catch (error) {
    const failed: FailedMessage = { id, ...tell(error), ...usage(engine) }
    report(MESSAGE.failed, failed)
  }
}

interface Computed {
  readonly preparedMs: number
  readonly elapsedMs: number
  readonly parts: readonly Uint8Array[]
}

/** `onStarted`: all is compiled and uploaded. @throws ERR_MESH_KERNEL_INVALID, ERR_MESH_KERNEL_FAILED, ERR_MESH_PROTOCOL */
export async function compute(
  engine: Engine,
  planner: Planner,
  message: Omit<LaunchMessage, 'id'>,
  onStarted: () => void,
): Promise<Computed> {
  const { lo, hi, files } = message
  const plan = planner.planOf(message)
  const boxes = boxesFor(plan, lo, hi)
  const bytes = boxes.reduce((sum, box) => sum + elementsOf(box.extent) * ELEMENT_BYTES, 0)
  if (bytes > MAX_LAUNCH_BYTES) {
    throw new MeshError(
      'ERR_MESH_KERNEL_INVALID',
      `items ${lo} to ${hi} of the kernel ${plan.name} have an output of ${bytes} bytes, more than ${MAX_LAUNCH_BYTES}: launch fewer items at once`,
    )
  }
  const launch = { plan, boxes, files }
  try {
    return await computeBoxes(engine, launch, onStarted)
  } catch (error) {
    if (!isOutOfMemory(error)) throw error
    // How much there is nobody tells: what was kept for other launches may be what is missing.
    engine.forget()
    return await computeBoxes(engine, launch, onStarted)
  }
}

async function computeBoxes(
  engine: Engine,
  launch: LaunchPlan,
  onStarted: () => void,
): Promise<Computed> {
  const from = performance.now()
  const prepared = await engine.prepare(launch)
  onStarted()
  const started = performance.now()
  const parts: Uint8Array[] = []
  for (const box of launch.boxes) {
    const part = await prepared.run(box)
    // The next box may be computed where this one lies.
    parts.push(launch.boxes.length === 1 ? part : part.slice())
  }
  const preparedMs = prepared.isWarm ? 0 : started - from
  return { preparedMs, elapsedMs: performance.now() - started, parts }
}

function usage(engine: Engine): Usage {
  return { rssBytes: process.memoryUsage.rss(), residentBytes: engine.residentBytes }
}

function tell(error: unknown): Pick<FailedMessage, 'code' | 'message'> {
  if (error instanceof MeshError) {
    return { code: error.code, message: error.message.slice(0, MAX_MESSAGE_CHARS) }
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { code: 'ERR_MESH_INTERNAL', message: text.slice(0, MAX_MESSAGE_CHARS) }
}

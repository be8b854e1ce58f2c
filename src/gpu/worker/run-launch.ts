/** One launch in the GPU process: checked, made ready, computed box by box, handed over. */
import { performance } from 'node:perf_hooks'
import { MeshError } from '../../base/errors.ts'
import { report, reportParts } from '../../runtime/worker/reporter.ts'
import { MAX_LAUNCH_BYTES, MAX_MESSAGE_CHARS } from '../limits.ts'
import { ELEMENT_BYTES, type Engine, elementsOf } from './engine.ts'
import {
  type FailedMessage,
  type LaunchMessage,
  MESSAGE,
  type StartedMessage,
  type Usage,
  writeDoneHead,
} from './messages.ts'
import { boxesFor, type Planner } from './plan.ts'

export async function runLaunch(
  engine: Engine,
  planner: Planner,
  message: LaunchMessage,
): Promise<void> {
  try {
    await compute(engine, planner, message)
  } catch (error) {
    const failed: FailedMessage = { id: message.id, ...tell(error), ...usage(engine) }
    report(MESSAGE.failed, failed)
  }
}

async function compute(engine: Engine, planner: Planner, message: LaunchMessage): Promise<void> {
  const { id, lo, hi, files } = message
  const from = performance.now()
  const plan = planner.planOf(message)
  const boxes = boxesFor(plan, lo, hi)
  const bytes = boxes.reduce((sum, box) => sum + elementsOf(box.extent) * ELEMENT_BYTES, 0)
  if (bytes > MAX_LAUNCH_BYTES) {
    throw new MeshError(
      'ERR_MESH_KERNEL_INVALID',
      `items ${lo} to ${hi} of the kernel ${plan.name} have an output of ${bytes} bytes, more than ${MAX_LAUNCH_BYTES}: launch fewer items at once`,
    )
  }
  const { run, isWarm } = await engine.prepare({ plan, boxes, files })
  report(MESSAGE.started, { id } satisfies StartedMessage)
  const started = performance.now()
  const parts: Uint8Array[] = []
  for (const box of boxes) {
    const part = await run(box)
    // The next box may be computed where this one lies.
    parts.push(boxes.length === 1 ? part : part.slice())
  }
  const head = writeDoneHead({
    id,
    preparedMs: isWarm ? 0 : started - from,
    elapsedMs: performance.now() - started,
    ...usage(engine),
  })
  reportParts(MESSAGE.done, [head, ...parts])
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

/** Entry of a worker process: runs the chunks of one bundle for one peer. Started by launch.ts, never by hand. */
import { Socket } from 'node:net'
import { MeshError } from '../../base/errors.ts'
import { decodeSegments, decodeValue } from '../segment.ts'
import { describeIssues, type StandardSchema } from '../task.ts'
import { Console } from './console.ts'
import { RunningItem } from './context.ts'
import {
  type CheckedFrame,
  COMMAND_FD,
  type DyingFrame,
  type EndedFrame,
  type ErrorFrame,
  FRAME,
  FrameReader,
  type InitFrame,
  type LoadFrame,
  type ReadyFrame,
  type RunFrame,
} from './frames.ts'
import { GpuCalls } from './gpu-calls.ts'
import { toErrorFrame } from './item-error.ts'
import { openItems } from './items.ts'
import { ChunkLoop } from './loop.ts'
import { NodeWork } from './node-work.ts'
import { exitNow, report, reportParts } from './reporter.ts'
import { type ReadyTask, Tasks } from './tasks.ts'
import { Step, TaskWork, type Work } from './work.ts'

interface Loaded {
  readonly tasks: Tasks
  /** The one that the worker was started for. */
  readonly first: ReadyTask
}

const lines = new Console()
const calls = new GpuCalls(reportParts)
const memory = process.memoryUsage
const running = new RunningItem()
let loop: ChunkLoop | undefined
/** undefined once a bundle could not be loaded: the peer has heard of it, sends nothing more and ends this process. */
let loading: Promise<Loaded | undefined> | undefined
let lethal: ErrorFrame | undefined

lines.item = () => loop?.at
lines.install()

process.on('uncaughtException', (error) => {
  lethal = toErrorFrame(error, 'ERR_MESH_WORKER_DIED')
  process.exit(1)
})

process.on('exit', (exitCode) => {
  loop?.output.flush()
  lines.endChunk()
  const frame: DyingFrame = {
    item: loop?.at,
    exitCode,
    ...(lethal === undefined ? {} : { error: lethal }),
  }
  report(FRAME.dying, frame)
})

async function init({
  tasks: refs,
  args,
  peer,
  checkOnly,
}: InitFrame): Promise<Loaded | undefined> {
  return await tell(async () => {
    const given = args === undefined ? undefined : decodeValue(args)
    const tasks = new Tasks({ args: given, peer, console: lines, calls, running })
    const first = await tasks.load(refs[0]!, checkOnly)
    for (const ref of refs) await tasks.load(ref, checkOnly)
    return { tasks, first }
  })
}

async function loadMore(frame: LoadFrame, before: Loaded | undefined): Promise<typeof before> {
  if (before === undefined) return undefined
  return await tell(async () => {
    for (const ref of frame.tasks) await before.tasks.load(ref, false)
    return before
  })
}

/** Says how the loading of tasks went. */
async function tell(load: () => Promise<Loaded>): Promise<Loaded | undefined> {
  try {
    const loaded = await load()
    const { name, kind, task } = loaded.first
    const ready: ReadyFrame = { name, kind, hasSchema: task.input !== undefined }
    report(FRAME.ready, ready)
    return loaded
  } catch (error) {
    report(FRAME.loadFailed, toErrorFrame(error, codeOfLoadError(error)))
    return undefined
  } finally {
    lines.endChunk()
  }
}

/** Our own refusals keep their code, also those that the bundler left in the bundle in the place of a native addon. */
function codeOfLoadError(error: unknown): string {
  const code = (error as { code?: unknown } | null | undefined)?.code
  if (typeof code !== 'string') return 'ERR_MESH_ITEM_THREW'
  if (code.startsWith('ERR_MESH_TASK_')) return code
  const isAddon = code === 'ERR_DLOPEN_FAILED' || /\.node\b/.test((error as Error).message)
  return isAddon ? 'ERR_MESH_TASK_NATIVE_ADDON' : 'ERR_MESH_ITEM_THREW'
}

async function run(frame: RunFrame): Promise<void> {
  const loaded = await loading
  if (loaded === undefined) return
  running.renew()
  loop = new ChunkLoop(frame, workOf(frame, loaded.tasks), running)
  const outcome = await loop.run()
  loop = undefined
  lines.endChunk()
  const ended: EndedFrame = { ...outcome, rssBytes: memory.rss() }
  report(FRAME.ended, ended)
}

function workOf({ node, task, input }: RunFrame, tasks: Tasks): Work {
  const items = openItems(input)
  if (node === undefined) return new TaskWork(new Step(tasks.get(task!)), items, 0)
  const steps = node.steps.map((step) => new Step(tasks.get(step), step))
  const combine = node.combine && new Step(tasks.get(node.combine.step), node.combine.step)
  // The way without a loop over steps is the fastest.
  return combine === undefined && steps.length === 1
    ? new TaskWork(steps[0]!, items, node.lo)
    : new NodeWork(node, steps, combine, items)
}

async function check(payload: Buffer): Promise<void> {
  const schema = (await loading)?.first.task.input
  const refused: { index: number; issues: string[] }[] = []
  try {
    if (schema !== undefined) {
      for (const { lo, values } of decodeSegments(payload, 0)) {
        for (let i = 0; i < values.length; i++) {
          const issues = await issuesOf(schema, values[i])
          if (issues !== undefined) refused.push({ index: lo + i, issues })
        }
      }
    }
    report(FRAME.checked, { refused } satisfies CheckedFrame)
  } catch (error) {
    report(FRAME.checked, { refused: [], error: toErrorFrame(error) } satisfies CheckedFrame)
  }
}

async function issuesOf(schema: StandardSchema, item: unknown): Promise<string[] | undefined> {
  const result = await schema['~standard'].validate(item)
  return result.issues && describeIssues(result.issues)
}

const reader = new FrameReader((type, payload) => {
  switch (type) {
    case FRAME.init:
      loading ??= init(decodeValue(payload) as InitFrame)
      return
    case FRAME.load: {
      const frame = decodeValue(payload) as LoadFrame
      loading = loading?.then((before) => loadMore(frame, before))
      return
    }
    case FRAME.run:
      void run(decodeValue(payload) as RunFrame)
      return
    case FRAME.abort:
      loop?.abort(new MeshError('ERR_MESH_JOB_CANCELLED', 'the peer stopped this chunk'))
      return
    case FRAME.check:
      void check(payload)
      return
    case FRAME.gpuResult:
    case FRAME.gpuFailed:
      calls.onAnswer(type, payload)
      return
  }
})

const commands = new Socket({ fd: COMMAND_FD, readable: true, writable: false })
commands.on('data', (bytes: Buffer) => reader.push(bytes))
// The peer is gone, or wants nothing more.
commands.on('close', () => exitNow(0))
commands.on('error', () => exitNow(0))

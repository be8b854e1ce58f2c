/** Entry of a worker process: runs the chunks of one bundle for one peer. Started by launch.ts, never by hand. */
import { Socket } from 'node:net'
import { MeshError } from '../../base/errors.ts'
import { decodeSegments, decodeValue } from '../segment.ts'
import { describeIssues, type StandardSchema } from '../task.ts'
import { Console } from './console.ts'
import { WorkerContext } from './context.ts'
import {
  type CheckedFrame,
  COMMAND_FD,
  type DyingFrame,
  type EndedFrame,
  type ErrorFrame,
  FRAME,
  FrameReader,
  type InitFrame,
  type ReadyFrame,
  type RunFrame,
} from './frames.ts'
import { GpuCalls } from './gpu-calls.ts'
import { toErrorFrame } from './item-error.ts'
import { openItems } from './items.ts'
import { type LoadedTask, loadBundle } from './load.ts'
import { ChunkLoop } from './loop.ts'
import { exitNow, report, reportParts } from './reporter.ts'

const lines = new Console()
const calls = new GpuCalls(reportParts)
const memory = process.memoryUsage
let loop: ChunkLoop | undefined
let loading: Promise<{ loaded: LoadedTask; ctx: WorkerContext } | undefined> | undefined
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

async function init(
  frame: InitFrame,
): Promise<{ loaded: LoadedTask; ctx: WorkerContext } | undefined> {
  try {
    const args = frame.args === undefined ? undefined : decodeValue(frame.args)
    const ctx = new WorkerContext(args, frame.peer, lines, calls)
    const loaded = await loadBundle(frame.bundle)
    if (!frame.checkOnly && loaded.task.setup !== undefined)
      ctx.state = await loaded.task.setup(ctx)
    const ready: ReadyFrame = {
      name: loaded.name,
      kind: loaded.kind,
      hasSchema: loaded.task.input !== undefined,
    }
    report(FRAME.ready, ready)
    return { loaded, ctx }
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
  const ready = await loading
  // The peer has the failure of the load; it sends nothing more and ends this process.
  if (ready === undefined) return
  ready.ctx.renew()
  loop = new ChunkLoop(frame, ready.loaded.task, ready.ctx, openItems(frame.input))
  const outcome = await loop.run()
  loop = undefined
  lines.endChunk()
  const ended: EndedFrame = { ...outcome, rssBytes: memory.rss() }
  report(FRAME.ended, ended)
}

async function check(payload: Buffer): Promise<void> {
  const ready = await loading
  const schema = ready?.loaded.task.input
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

/** Entry of a GPU process: compiles and runs kernels for one peer, one launch after another. Started by launch.ts, never by hand. */
import { Socket } from 'node:net'
import { decodeValue } from '../../runtime/segment.ts'
import { COMMAND_FD, FrameReader } from '../../runtime/worker/frames.ts'
import { exitNow, report } from '../../runtime/worker/reporter.ts'
import { bootWebgpu } from '../boot.ts'
import type { Engine } from './engine.ts'
import { acquireDevice, gpuJsFault } from './gpujs.ts'
import { type LaunchMessage, MESSAGE, type NoGpuMessage, type ReadyMessage } from './messages.ts'
import { Planner } from './plan.ts'
import { runLaunch } from './run-launch.ts'
import { WebasmEngine } from './webasm.ts'
import { WebgpuEngine } from './webgpu.ts'

const [, , backend, device] = process.argv
const planner = new Planner()

async function start(): Promise<Engine | undefined> {
  const fault = gpuJsFault()
  if (fault !== undefined) {
    const why = { kind: 'compiler', message: fault } as const
    report(MESSAGE.noGpu, { why, adapters: [] } satisfies NoGpuMessage)
    return undefined
  }
  if (backend === 'webasm') return new WebasmEngine()
  const boot = await bootWebgpu(device)
  if (!boot.ok) {
    report(MESSAGE.noGpu, { why: boot.why, adapters: boot.adapters } satisfies NoGpuMessage)
    return undefined
  }
  const { deviceClass, software } = boot.found
  try {
    const context = await acquireDevice()
    void context.device.lost.then(({ message }) => {
      // What it held is gone, and what waits for it waits for ever: the peer starts another process.
      process.stderr.write(`the device was lost: ${message}\n`)
      exitNow(1)
    })
    return new WebgpuEngine(context, deviceClass, software)
  } catch (error) {
    const why = { kind: 'broken', message: (error as Error).message } as const
    report(MESSAGE.noGpu, { why, adapters: boot.adapters } satisfies NoGpuMessage)
    return undefined
  }
}

const engine = await start()
if (engine !== undefined) {
  report(MESSAGE.ready, { deviceClass: engine.deviceClass } satisfies ReadyMessage)
}

/** Launches run one at a time, in the order in which they came. */
let last: Promise<void> = Promise.resolve()
const reader = new FrameReader((type, payload) => {
  if (type !== MESSAGE.launch || engine === undefined) return
  const message = decodeValue(payload) as LaunchMessage
  last = last.then(() => runLaunch(engine, planner, message))
})

const commands = new Socket({ fd: COMMAND_FD, readable: true, writable: false })
commands.on('data', (bytes: Buffer) => reader.push(bytes))
// The peer is gone, or wants nothing more.
commands.on('close', () => exitNow(0))
commands.on('error', () => exitNow(0))

/** One process that runs kernels, as its host sees it: starts it, hands it launches one at a time, explains its end. */
import { MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { killGroup, type WorkerChannels } from '../runtime/launch.ts'
import { LineSplitter } from '../runtime/lines.ts'
import { encodeValue } from '../runtime/segment.ts'
import { FrameReader, frameHead } from '../runtime/worker/frames.ts'
import { explainNoGpu } from './advice.ts'
import { KILL_WAIT_MS, STDERR_TAIL_CHARS } from './limits.ts'
import {
  type DoneMessage,
  type LaunchMessage,
  MESSAGE,
  type ReadyMessage,
  readDone,
  readFailed,
  readNoGpu,
  readReady,
  readStarted,
  type Usage,
} from './worker/messages.ts'

interface Running {
  readonly id: number
  readonly onStarted: () => void
  readonly resolve: (done: DoneMessage) => void
  readonly reject: (error: MeshError) => void
}

export class GpuChild {
  /** Rejects with a MeshError when there is no device for it, or it dies before. */
  readonly ready: Promise<ReadyMessage>
  /** Settles once its process has ended. */
  readonly ended: Promise<void>
  /** Memory that it has taken since its first launch, beyond what it keeps on purpose; a driver alone may hold a lot from the start. */
  grownBytes = 0
  private hasBegun = false
  private firstBytes: number | undefined
  /** Until its process has ended, or somebody ended it. */
  alive = true
  private readonly channels: WorkerChannels
  private readonly log: Logger
  private readonly reader = new FrameReader((type, payload) => this.onFrame(type, payload))
  private settleReady: (ready: ReadyMessage) => void = () => {}
  private rejectReady: (error: MeshError) => void = () => {}
  private settleEnd: () => void = () => {}
  private running: Running | undefined
  private killed: MeshError | undefined
  private stderr = ''

  constructor(channels: WorkerChannels, log: Logger) {
    this.channels = channels
    this.log = log
    this.ready = new Promise((resolve, reject) => {
      this.settleReady = resolve
      this.rejectReady = reject
    })
    this.ready.catch(() => {})
    this.ended = new Promise((resolve) => {
      this.settleEnd = resolve
    })
    this.listen()
  }

  get isReady(): boolean {
    return this.alive && this.hasBegun
  }

  get pid(): number | undefined {
    return this.channels.child.pid
  }

  /** One at a time, and only once it is ready. `onStarted`: all is compiled and uploaded. */
  launch(message: LaunchMessage, onStarted: () => void): Promise<DoneMessage> {
    return new Promise((resolve, reject) => {
      if (!this.alive) throw this.killed ?? died('it ended before the launch')
      this.running = { id: message.id, onStarted, resolve, reject }
      const payload = encodeValue(message)
      this.channels.commands.write(
        Buffer.concat([frameHead(MESSAGE.launch, payload.length), payload]),
      )
    })
  }

  /** SIGKILL for the process and all that it started; what runs fails with `reason`. */
  kill(reason: MeshError): void {
    this.alive = false
    this.killed ??= reason
    killGroup(this.channels.child)
    // One that hangs in its driver dies when the driver lets it; nobody waits for that.
    setTimeout(() => {
      this.fail(reason)
      this.settleEnd()
    }, KILL_WAIT_MS).unref()
  }

  private listen(): void {
    const { child, stdout, stderr, commands, reports, lifeline } = this.channels
    for (const stream of [stdout, stderr, commands, reports, lifeline])
      stream?.on('error', () => {})
    child.once('error', (error) => {
      if (child.pid !== undefined) return
      this.alive = false
      this.fail(died(`it cannot be started: ${error.message}`, error))
      this.settleEnd()
    })
    if (child.pid === undefined) return
    // Drivers print here.
    const tell = (stream: string) =>
      new LineSplitter((text) => this.log.debug('output of a GPU process', { stream, text }))
    const [out, err] = [tell('stdout'), tell('stderr')]
    stdout.on('data', (bytes: Buffer) => out.push(bytes))
    stderr.on('data', (bytes: Buffer) => {
      this.stderr = (this.stderr + bytes.toString('latin1')).slice(-STDERR_TAIL_CHARS)
      err.push(bytes)
    })
    reports.on('data', (bytes: Buffer) => this.onReport(bytes))
    const drained = Promise.all(
      [reports, stderr].map((stream) => new Promise((resolve) => stream.once('close', resolve))),
    )
    child.once('exit', (exitCode, signal) => {
      this.alive = false
      // What it started goes with it, and then nothing holds its pipes open: all that it wrote can be read to the end.
      killGroup(child)
      lifeline.destroy()
      commands.destroy()
      void drained.then(() => this.onEnd(exitCode, signal))
    })
  }

  private onEnd(exitCode: number | null, signal: NodeJS.Signals | null): void {
    this.log.debug('GPU process ended', { pid: this.pid, exitCode, signal })
    const how = signal === null ? `it ended with code ${exitCode}` : `it was ended by ${signal}`
    this.fail(this.killed ?? died(how + lastWords(this.stderr)))
    this.settleEnd()
  }

  /** Whoever waits hears of it; once. */
  private fail(error: MeshError): void {
    this.rejectReady(error)
    const { running } = this
    this.running = undefined
    running?.reject(error)
  }

  private onReport(bytes: Buffer): void {
    try {
      this.reader.push(bytes)
    } catch (error) {
      this.log.warn('a GPU process broke its protocol', { pid: this.pid, error: String(error) })
      this.kill(died('it broke its protocol, and was killed', error))
    }
  }

  private onFrame(type: number, payload: Buffer): void {
    switch (type) {
      case MESSAGE.ready:
        this.hasBegun = true
        this.settleReady(readReady(payload))
        return
      case MESSAGE.noGpu: {
        const { why, adapters } = readNoGpu(payload)
        const text = `this machine's GPU cannot be used: ${explainNoGpu(why, adapters)}`
        this.kill(new MeshError('ERR_MESH_KERNEL_FAILED', text))
        return
      }
      case MESSAGE.started: {
        const { id } = readStarted(payload)
        if (this.running?.id === id) this.running.onStarted()
        return
      }
      case MESSAGE.done: {
        const done = readDone(payload)
        this.onUsage(done)
        this.take(done.id)?.resolve(done)
        return
      }
      case MESSAGE.failed: {
        const failed = readFailed(payload)
        this.onUsage(failed)
        this.take(failed.id)?.reject(new MeshError(failed.code, failed.message))
        return
      }
      default:
        throw new MeshError('ERR_MESH_PROTOCOL', `a message of unknown type ${type}`)
    }
  }

  private onUsage({ rssBytes, residentBytes }: Usage): void {
    const bytes = rssBytes - residentBytes
    this.firstBytes ??= bytes
    this.grownBytes = bytes - this.firstBytes
  }

  private take(id: number): Running | undefined {
    const { running } = this
    if (running?.id !== id) return undefined
    this.running = undefined
    return running
  }
}

function died(how: string, cause?: unknown): MeshError {
  return new MeshError('ERR_MESH_WORKER_DIED', `the GPU process died: ${how}`, { cause })
}

/** The last line that it printed, if any: what a driver says before it aborts. */
function lastWords(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '')
  const last = lines.at(-1)
  return last === undefined ? '' : `; its last words: ${last.trim().slice(0, 300)}`
}

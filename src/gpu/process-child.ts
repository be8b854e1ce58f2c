/** One process that runs kernels, as its host sees it: starts it, hands it launches one at a time, explains its end. */
import { MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { listenToChild } from '../runtime/child.ts'
import { killGroup, type WorkerChannels } from '../runtime/launch.ts'
import { encodeValue } from '../runtime/segment.ts'
import { FrameReader, frameHead } from '../runtime/worker/frames.ts'
import { explainNoGpu } from './advice.ts'
import { howItEnded } from './last-words.ts'
import { KILL_WAIT_MS } from './limits.ts'
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
    listenToChild(this.channels, {
      onNotStarted: (error) => {
        this.alive = false
        this.fail(died(`it cannot be started: ${error.message}`, error))
        this.settleEnd()
      },
      // Drivers print here.
      onLine: (stream, text) => this.log.debug('output of a GPU process', { stream, text }),
      onReport: (bytes) => this.onReport(bytes),
      onExit: () => {
        this.alive = false
      },
      onEnd: (exitCode, signal, stderr) => {
        this.log.debug('GPU process ended', { pid: this.pid, exitCode, signal })
        this.fail(this.killed ?? died(howItEnded(exitCode, signal, stderr)))
        this.settleEnd()
      },
    })
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
        const what =
          why.kind === 'compiler' ? 'no kernel runs here' : "this machine's GPU cannot be used"
        const text = `${what}: ${explainNoGpu(why, adapters)}`
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

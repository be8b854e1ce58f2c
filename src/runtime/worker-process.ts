/** One worker process as the peer sees it: starts it, speaks frames with it, explains its end. */
import { MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { listenToChild } from './child.ts'
import { killGroup, launchWorker, type WorkerChannels } from './launch.ts'
import { MAX_EARLY_LINES } from './limits.ts'
import {
  readChecked,
  readDying,
  readEnded,
  readItemProgress,
  readLoadFailed,
  readLog,
  readReady,
} from './reports.ts'
import { encodeValue } from './segment.ts'
import type { ServeWorker, WorkerCalls } from './types.ts'
import {
  type CheckedFrame,
  type DyingFrame,
  type EndedFrame,
  type ErrorFrame,
  FRAME,
  FrameReader,
  frameHead,
  type InitFrame,
  type LoadFrame,
  type LogFrame,
  MARK_BYTES,
  OUTPUT_HEAD_BYTES,
  type ReadyFrame,
  type RunFrame,
  taskKey,
} from './worker/frames.ts'

/** What the owner of a run hears of it. */
export interface RunEvents {
  onOutput(run: number, lo: number, hi: number, failed: number, bytes: Uint8Array): void
  onMark(run: number, item: number, exact: boolean): void
  onEnded(frame: EndedFrame): void
  onLog(line: LogFrame): void
  onItemProgress(item: number, fraction: number): void
  onDeath(death: Death): void
}

export interface Death {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  /** Its own last words, if it had any. */
  readonly dying: DyingFrame | undefined
  readonly stderr: string
  /** Why we killed it, if we did. */
  readonly killed: KillReason | undefined
  readonly memoryBytes: number
}
export type KillReason = 'retired' | 'aborted' | 'timeLimit' | 'loadTime' | 'protocol' | 'deaf'

export type LoadOutcome =
  | { readonly ok: true; readonly ready: ReadyFrame }
  | { readonly ok: false; readonly error: ErrorFrame }
  | { readonly ok: false; readonly death: Death }

const FATAL_DUMP = /^<--- Last few GCs --->|^FATAL ERROR: |^#\s*$|^# Fatal /

export interface WorkerOptions {
  readonly memoryBytes: number
  readonly loadTimeoutMs: number
  readonly nice?: boolean
  readonly log: Logger
  /** Serves its kernel calls; without it, a call is a breach of the protocol. */
  readonly serveGpu?: ServeWorker | undefined
}

export class WorkerProcess {
  readonly memoryBytes: number
  readonly startedAt = performance.now()
  /** Settles once: the tasks that it was last given are loaded, or cannot be, or the process died before. Rejects when no process could be started. */
  loaded!: Promise<LoadOutcome>
  /** Until then. */
  isLoading = false
  /** What it was given to load (taskKey). */
  readonly tasks = new Set<string>()
  readonly ended: Promise<void>
  startupMs = 0
  /** Items run so far. */
  served = 0
  rssBytes = 0
  /** Until its process has ended and all that it wrote was read. */
  alive = true
  /** Its process has ended. */
  exited = false
  events: RunEvents | undefined
  onChecked: ((frame: CheckedFrame) => void) | undefined
  private readonly channels: WorkerChannels
  private readonly log: Logger
  private readonly reader = new FrameReader((type, payload) => this.onFrame(type, payload))
  private settleLoad: (outcome: LoadOutcome) => void = () => {}
  private rejectLoad: (error: Error) => void = () => {}
  private settleEnd: () => void = () => {}
  private readonly loadTimeoutMs: number
  private loadTimer: NodeJS.Timeout | undefined
  private readonly early: LogFrame[] = []
  private fatalDump = false
  private dying: DyingFrame | undefined
  private killed: KillReason | undefined
  private readonly calls: WorkerCalls | undefined
  /** Reports that are taken in, and that no other may overtake. */
  private holding = 0

  constructor(options: WorkerOptions) {
    this.memoryBytes = options.memoryBytes
    this.log = options.log
    this.loadTimeoutMs = options.loadTimeoutMs
    this.expectLoad()
    this.ended = new Promise((resolve) => {
      this.settleEnd = resolve
    })
    this.channels = launchWorker(options)
    this.calls = options.serveGpu?.((type, parts) => this.sendParts(type, parts))
    this.listen()
  }

  get pid(): number | undefined {
    return this.channels.child.pid
  }

  /** Its end was our wish. */
  get wasRetired(): boolean {
    return this.killed === 'retired' || this.killed === 'aborted'
  }

  init(frame: InitFrame): void {
    for (const task of frame.tasks) this.tasks.add(taskKey(task))
    this.send(FRAME.init, encodeValue(frame))
  }

  /** More tasks, once what it loads is loaded; `loaded` is about these then. */
  load(frame: LoadFrame): void {
    for (const task of frame.tasks) this.tasks.add(taskKey(task))
    this.expectLoad()
    this.send(FRAME.load, encodeValue(frame))
  }

  run(frame: RunFrame, events: RunEvents): void {
    this.events = events
    this.send(FRAME.run, encodeValue(frame))
  }

  /** Aborts the running item's signal and stops before the next item. */
  abort(): void {
    this.send(FRAME.abort, new Uint8Array())
  }

  /** Items as one segment; the answer comes to onChecked. */
  check(segment: Uint8Array): void {
    this.send(FRAME.check, segment)
  }

  /** SIGKILL for the process and all that it started. */
  kill(reason: KillReason): void {
    if (!this.alive) return
    this.killed ??= reason
    killGroup(this.channels.child)
  }

  private send(type: number, payload: Uint8Array): void {
    if (!this.alive || !this.channels.commands.writable) return
    const head = frameHead(type, payload.length)
    this.channels.commands.write(payload.length === 0 ? head : Buffer.concat([head, payload]))
  }

  /** Resolves when it has read them, or never will. */
  private sendParts(type: number, parts: readonly Uint8Array[]): Promise<void> {
    const { commands } = this.channels
    if (!this.alive || !commands.writable) return Promise.resolve()
    const size = parts.reduce((sum, part) => sum + part.length, 0)
    return new Promise((resolve) => {
      commands.cork()
      commands.write(frameHead(type, size))
      parts.forEach((part, i) => {
        if (i < parts.length - 1) commands.write(part)
        else commands.write(part, () => resolve())
      })
      commands.uncork()
    })
  }

  private expectLoad(): void {
    this.isLoading = true
    this.loaded = new Promise((resolve, reject) => {
      this.settleLoad = resolve
      this.rejectLoad = reject
    })
    this.loaded.catch(() => {})
    this.loadTimer = setTimeout(() => this.kill('loadTime'), this.loadTimeoutMs)
  }

  private listen(): void {
    listenToChild(this.channels, {
      onNotStarted: (error) => this.onNotStarted(error),
      onLine: (stream, text) => this.onNativeLine(stream, text),
      onReport: (bytes) => this.onReport(bytes),
      onExit: () => {
        this.exited = true
        this.calls?.close()
      },
      onEnd: (exitCode, signal, stderr) => this.onEnd(exitCode, signal, stderr),
    })
  }

  private onNotStarted(cause: Error): void {
    this.alive = false
    this.calls?.close()
    clearTimeout(this.loadTimer)
    this.rejectLoad(
      new MeshError('ERR_MESH_INTERNAL', `no worker process can be started: ${cause.message}`, {
        cause,
      }),
    )
    this.settleEnd()
  }

  private onEnd(exitCode: number | null, signal: NodeJS.Signals | null, stderr: string): void {
    this.alive = false
    clearTimeout(this.loadTimer)
    const { dying, killed, memoryBytes } = this
    const death: Death = { exitCode, signal, dying, stderr, killed, memoryBytes }
    this.log.debug('worker ended', { pid: this.pid, exitCode, signal, killed })
    this.settleLoad({ ok: false, death })
    const events = this.events
    this.events = undefined
    events?.onDeath(death)
    this.settleEnd()
  }

  private onReport(bytes: Buffer): void {
    try {
      this.reader.push(bytes)
    } catch (error) {
      this.breach(error)
    }
  }

  /** Only a task that writes on our pipe can cause this: its worker goes. */
  private breach(error: unknown): void {
    this.log.warn('a worker broke its protocol', { pid: this.pid, error: String(error) })
    this.kill('protocol')
  }

  private onGpuReport(type: number, payload: Buffer): void {
    if (this.calls === undefined) throw new Error('a kernel call that nobody serves')
    const taken = this.calls.onReport(type, payload)
    if (taken === undefined) return
    const { reports } = this.channels
    this.holding += 1
    reports.pause()
    void taken
      .catch((error: unknown) => this.breach(error))
      .finally(() => {
        this.holding -= 1
        if (this.holding === 0) reports.resume()
      })
  }

  private onNativeLine(stream: 'stdout' | 'stderr', text: string): void {
    // V8's dump before it dies of memory is some forty lines of addresses; the item's error says what matters.
    if (stream === 'stderr' && (this.fatalDump ||= FATAL_DUMP.test(text))) return
    if (this.events !== undefined) this.events.onLog({ stream, text })
    else this.log.debug('output of an idle worker', { pid: this.pid, stream, text })
  }

  private onFrame(type: number, payload: Buffer): void {
    const { events } = this
    switch (type) {
      case FRAME.output:
        if (payload.length < OUTPUT_HEAD_BYTES) throw new Error('a short output frame')
        events?.onOutput(
          payload.readUInt32LE(0),
          payload.readDoubleLE(8),
          payload.readDoubleLE(16),
          payload.readUInt32LE(4),
          payload.subarray(OUTPUT_HEAD_BYTES),
        )
        return
      case FRAME.mark:
        if (payload.length !== MARK_BYTES) throw new Error('a short mark')
        if (!Number.isSafeInteger(payload.readDoubleLE(5))) throw new Error('a mark at no item')
        events?.onMark(payload.readUInt32LE(0), payload.readDoubleLE(5), payload[4] === 1)
        return
      case FRAME.ended: {
        const frame = readEnded(payload)
        this.rssBytes = frame.rssBytes
        events?.onEnded(frame)
        return
      }
      case FRAME.log:
        this.onLogFrame(readLog(payload))
        return
      case FRAME.itemProgress: {
        const { item, fraction } = readItemProgress(payload)
        events?.onItemProgress(item, fraction)
        return
      }
      case FRAME.ready:
        this.onLoaded({ ok: true, ready: readReady(payload) })
        return
      case FRAME.loadFailed:
        this.onLoaded({ ok: false, error: readLoadFailed(payload) })
        return
      case FRAME.dying:
        this.dying = readDying(payload)
        return
      case FRAME.checked:
        this.onChecked?.(readChecked(payload))
        return
      case FRAME.gpuArray:
      case FRAME.gpuForget:
      case FRAME.gpuCall:
      case FRAME.gpuCancel:
        this.onGpuReport(type, payload)
        return
      default:
        throw new Error(`a frame of unknown type ${type}`)
    }
  }

  private onLogFrame(line: LogFrame): void {
    if (this.events !== undefined) this.events.onLog(line)
    else this.early.push(line)
    if (this.early.length > MAX_EARLY_LINES) this.early.shift()
  }

  /** Lines from before the first run: the bundle's top level and setup(). */
  takeEarlyLines(): LogFrame[] {
    return this.early.splice(0)
  }

  private onLoaded(outcome: LoadOutcome): void {
    clearTimeout(this.loadTimer)
    if (this.startupMs === 0) this.startupMs = performance.now() - this.startedAt
    // One whose tasks cannot be loaded is of no more use.
    this.isLoading = !outcome.ok
    this.settleLoad(outcome)
  }
}

/** What all processes of launchGroup() have in common for whoever speaks with them: how they start, what they print, and how they end. */
import { killGroup, type WorkerChannels } from './launch.ts'
import { STDERR_TAIL_CHARS } from './limits.ts'
import { LineSplitter } from './lines.ts'

export interface ChildListener {
  /** There is no process; nothing else follows. */
  onNotStarted(error: Error): void
  onLine(stream: 'stdout' | 'stderr', text: string): void
  /** From its report pipe. */
  onReport(bytes: Buffer): void
  /** Its process has ended; what it wrote is still being read. */
  onExit(): void
  /** All that it wrote was read. `stderr`: the end of that. */
  onEnd(exitCode: number | null, signal: NodeJS.Signals | null, stderr: string): void
}

/** Listens until the process has ended, and then ends all that it started. */
export function listenToChild(channels: WorkerChannels, listener: ChildListener): void {
  const { child, stdout, stderr, commands, reports, lifeline } = channels
  // A pipe breaks when its process ends, which is told by that.
  const ignore = (): void => {}
  for (const stream of [stdout, stderr, commands, reports, lifeline]) stream?.on('error', ignore)
  child.once('error', (error) => {
    if (child.pid === undefined) listener.onNotStarted(error)
  })
  if (child.pid === undefined) return
  let tail = ''
  const out = new LineSplitter((text) => listener.onLine('stdout', text))
  const err = new LineSplitter((text) => listener.onLine('stderr', text))
  stdout.on('data', (bytes: Buffer) => out.push(bytes))
  stderr.on('data', (bytes: Buffer) => {
    tail = (tail + bytes.toString('latin1')).slice(-STDERR_TAIL_CHARS)
    err.push(bytes)
  })
  reports.on('data', (bytes: Buffer) => listener.onReport(bytes))
  const drained = Promise.all(
    [reports, stderr].map((stream) => new Promise((resolve) => stream.once('close', resolve))),
  )
  child.once('exit', (exitCode, signal) => {
    listener.onExit()
    // What it started goes with it, and then nothing holds its pipes open: all that it wrote can be read to the end.
    killGroup(child)
    lifeline.destroy()
    commands.destroy()
    void drained.then(() => listener.onEnd(exitCode, signal, tail))
  })
}

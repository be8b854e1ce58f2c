import type { JobId, PeerId } from '../scheduler/types.ts'
import type { LogRings } from './log-rings.ts'
import type { LogLine } from './types.ts'
import type { WireMessage } from './wire/messages.ts'

type Wanted = Extract<WireMessage, { kind: 'logsWanted' }>
type Lines = Extract<WireMessage, { kind: 'logs' }>

/** Log followers served to one peer at a time: bounds what a peer can make us send. */
const MAX_FOLLOWS_PER_PEER = 64
const LINES_PER_MESSAGE = 100
/** Well below the message cap. */
const BYTES_PER_MESSAGE = 128 * 1024

export interface LogExchangeParts {
  readonly rings: LogRings
  readonly send: (to: PeerId, message: WireMessage) => boolean
  readonly connected: () => PeerId[]
  readonly isRunning: (job: JobId) => boolean
}

interface Asked {
  readonly waiting: Set<PeerId>
  readonly onLines: (lines: readonly LogLine[]) => void
  readonly onEnd: () => void
}

/** Streams a job's console lines from the peers that ran it, on demand. */
export class LogExchange {
  private readonly parts: LogExchangeParts
  private readonly asked = new Map<number, Asked>()
  private readonly follows = new Map<PeerId, Map<number, { job: JobId; end: () => void }>>()
  private nextId = 1

  constructor(parts: LogExchangeParts) {
    this.parts = parts
  }

  /** Asks every connected peer; `onEnd` when all have sent what they have (with `follow`: never, until the returned function is called). */
  ask(
    job: JobId,
    follow: boolean,
    onLines: (lines: readonly LogLine[]) => void,
    onEnd: () => void,
  ): () => void {
    const id = this.nextId
    this.nextId += 1
    const waiting = new Set<PeerId>()
    this.asked.set(id, { waiting, onLines, onEnd })
    for (const peer of this.parts.connected()) {
      if (this.parts.send(peer, { kind: 'logsWanted', job, follow, id })) waiting.add(peer)
    }
    if (waiting.size === 0 && !follow) queueMicrotask(onEnd)
    return () => this.asked.delete(id)
  }

  receive(from: PeerId, message: Wanted | Lines): void {
    if (message.kind === 'logsWanted') this.serve(from, message)
    else this.take(from, message)
  }

  peerGone(peer: PeerId): void {
    for (const { end } of [...(this.follows.get(peer)?.values() ?? [])]) end()
    this.follows.delete(peer)
    for (const [id, asked] of this.asked) this.ended(id, asked, peer)
  }

  private serve(to: PeerId, { job, follow, id }: Wanted): void {
    for (const lines of batches(this.parts.rings.lines(job))) {
      this.parts.send(to, { kind: 'logs', id, lines, end: false })
    }
    if (follow && this.parts.isRunning(job) && this.follow(to, job, id)) return
    this.parts.send(to, { kind: 'logs', id, lines: [], end: true })
  }

  /** Lines to come go to `to` until the job ends, it disconnects, or asks anew; false when it follows too much already. */
  private follow(to: PeerId, job: JobId, id: number): boolean {
    let follows = this.follows.get(to)
    if (follows === undefined) this.follows.set(to, (follows = new Map()))
    follows.get(id)?.end()
    if (follows.size >= MAX_FOLLOWS_PER_PEER) return false
    const end = () => {
      unfollow()
      follows.delete(id)
    }
    const unfollow = this.parts.rings.follow(job, (line) => {
      if (!this.parts.send(to, { kind: 'logs', id, lines: [line], end: false })) end()
    })
    follows.set(id, { job, end })
    return true
  }

  /** The job is over: its followers are told that nothing more comes. */
  jobEnded(job: JobId): void {
    for (const [peer, follows] of this.follows) {
      for (const [id, following] of [...follows]) {
        if (following.job !== job) continue
        following.end()
        this.parts.send(peer, { kind: 'logs', id, lines: [], end: true })
      }
    }
  }

  private take(from: PeerId, { id, lines, end }: Lines): void {
    const asked = this.asked.get(id)
    if (asked === undefined) return
    if (lines.length > 0) asked.onLines(lines)
    if (end) this.ended(id, asked, from)
  }

  private ended(id: number, asked: Asked, peer: PeerId): void {
    if (!asked.waiting.delete(peer) || asked.waiting.size > 0) return
    this.asked.delete(id)
    asked.onEnd()
  }
}

function* batches(lines: readonly LogLine[]): Generator<LogLine[]> {
  let batch: LogLine[] = []
  let bytes = 0
  for (const line of lines) {
    const size = Buffer.byteLength(line.text) + 128
    if (batch.length >= LINES_PER_MESSAGE || bytes + size > BYTES_PER_MESSAGE) {
      if (batch.length > 0) yield batch
      batch = []
      bytes = 0
    }
    batch.push(line)
    bytes += size
  }
  if (batch.length > 0) yield batch
}

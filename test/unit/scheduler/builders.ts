import { Scheduler } from '../../../src/scheduler/scheduler.ts'
import type {
  BlobHash,
  Entry,
  EntryBody,
  EntryHash,
  JobId,
  JobOptions,
  JobSpec,
  PeerFacts,
  PeerId,
  SchedulerConfig,
  SchedulerEffect,
  SchedulerEvent,
  SessionId,
} from '../../../src/scheduler/types.ts'
import { ZERO_HASH } from '../../../src/scheduler/types.ts'
import { simHash, simSeal } from '../../sim/seal.ts'

export const JOB = simHash('job') as JobId

export function specOf(count: number, options: JobOptions = {}): JobSpec {
  return {
    v: 1,
    task: {
      kind: 'module',
      name: 'test',
      bundle: simHash('bundle') as JobSpec['task']['bundle'],
      bundleBytes: 1,
    },
    input: { kind: 'range', start: 0, count },
    options,
    nonce: simHash('nonce'),
  }
}

export function factsOf(name: string, more: Partial<PeerFacts> = {}): PeerFacts {
  return {
    peer: simHash(`peer ${name}`) as PeerId,
    session: simHash(`session ${name}`).slice(0, 32) as SessionId,
    sessionNumber: 1,
    slots: 1,
    speed: 1,
    ...more,
  }
}

/** Writes the entries of other sessions. */
export class Feed {
  readonly facts: PeerFacts
  readonly entries: Entry[] = []

  constructor(facts: PeerFacts) {
    this.facts = facts
  }

  write(body: EntryBody, job: JobId = JOB): Entry {
    const entry = simSeal(
      {
        author: this.facts.peer,
        session: this.facts.session,
        job,
        seq: this.entries.length + 1,
        prev: this.entries.at(-1)?.hash ?? ZERO_HASH,
      },
      body,
    )
    this.entries.push(entry)
    return entry
  }

  job(count: number, seeds: { lo: number; hi: number; to: SessionId }[] = [], options = {}): Entry {
    return this.write({ type: 'job', spec: specOf(count, options), at: 0, seeds })
  }

  grant(lo: number, hi: number, parent: Entry, to: SessionId, epoch = 0, hop = 1): Entry {
    return this.write({ type: 'grant', to, ranges: [{ lo, hi, parent: parent.hash, epoch, hop }] })
  }

  release(lo: number, hi: number, parent: Entry, epoch = 0, hop = 1): Entry {
    return this.write({ type: 'release', ranges: [{ lo, hi, parent: parent.hash, epoch, hop }] })
  }

  reclaim(lo: number, hi: number, parent: Entry, epoch = 1): Entry {
    return this.write({ type: 'reclaim', ranges: [{ lo, hi, parent: parent.hash, epoch }] })
  }

  /** Its values are a blob. */
  doneElsewhere(lo: number, hi: number, parent: Entry): Entry {
    const hash = 'b'.repeat(64) as BlobHash
    const result = { kind: 'blob', hash, sizeBytes: 5_000, keepers: [this.facts.peer] } as const
    const times = { failed: 0, elapsedMs: 1, chunks: 1 }
    return this.write({ type: 'done', ranges: [{ lo, hi, parent: parent.hash, ...times, result }] })
  }

  done(lo: number, hi: number, parent: Entry | EntryHash, failed = 0): Entry {
    return this.write({
      type: 'done',
      ranges: [
        {
          lo,
          hi,
          parent: typeof parent === 'string' ? parent : parent.hash,
          failed,
          elapsedMs: 1,
          chunks: 1,
          result: { kind: 'inline', bytes: new Uint8Array(1) },
        },
      ],
    })
  }
}

type Effect<T extends SchedulerEffect['type']> = Extract<SchedulerEffect, { type: T }>

/** A scheduler under test with its clock; remembers every effect. */
export class Bench {
  readonly self: PeerFacts
  readonly scheduler: Scheduler
  now = 0
  /** Effects of the last event. */
  last: SchedulerEffect[] = []
  readonly entries: Entry[] = []
  readonly timers = new Map<string, number>()

  constructor(self: PeerFacts = factsOf('self'), config: Partial<SchedulerConfig> = {}) {
    this.self = self
    this.scheduler = new Scheduler({ self, seal: simSeal, random: () => 0.5, ...config })
  }

  on(event: SchedulerEvent): SchedulerEffect[] {
    const effects = this.scheduler.handle(event, this.now)
    // The heartbeat's own timer is of no interest, but where it is the matter.
    this.last = effects.filter((e) => e.type !== 'setTimer' || e.timer.includes('|'))
    for (const effect of effects) {
      if (effect.type === 'append') this.entries.push(effect.entry)
      if (effect.type === 'setTimer') this.timers.set(effect.timer, effect.at)
      if (effect.type === 'clearTimer') this.timers.delete(effect.timer)
    }
    return this.last
  }

  /** The types of the last effects, in order, without the ones that only tell watchers. */
  get kinds(): string[] {
    return this.last
      .map((effect) => effect.type)
      .filter((type) => type !== 'changeView' && type !== 'jobChanged')
  }

  /** Timers of jobs that are set. */
  get jobTimers(): number {
    return [...this.timers.keys()].filter((timer) => timer.includes('|')).length
  }

  find<T extends SchedulerEffect['type']>(type: T): Effect<T> {
    const found = this.all(type)[0]
    if (found === undefined) throw new Error(`no ${type} among ${this.last.map((e) => e.type)}`)
    return found
  }

  all<T extends SchedulerEffect['type']>(type: T): Effect<T>[] {
    return this.last.filter((effect): effect is Effect<T> => effect.type === type)
  }

  /** The bodies appended by the last event. */
  get bodies(): EntryBody[] {
    return this.all('append').map(({ entry }) => entry.body)
  }

  /** The same without STARTs. */
  get moves(): EntryBody[] {
    return this.bodies.filter(({ type }) => type !== 'start')
  }

  submit(count: number, options: JobOptions = {}): SchedulerEffect[] {
    return this.on({ type: 'submitted', job: JOB, spec: specOf(count, options), at: 7 })
  }

  see(facts: PeerFacts): SchedulerEffect[] {
    return this.on({ type: 'peerSeen', facts })
  }

  receive(...entries: Entry[]): SchedulerEffect[] {
    return this.on({ type: 'entriesReceived', entries, from: undefined })
  }

  /** A chunk ends at `reached` after `ms`, its values inline unless `outputBytes` is over 1 KiB. */
  end(chunk: number, reached: number, ms: number, outputBytes = 1): SchedulerEffect[] {
    this.now += ms
    const inline = outputBytes <= 1024 ? { inline: new Uint8Array(outputBytes) } : {}
    return this.on({
      type: 'chunkEnded',
      chunk,
      reached,
      failed: 0,
      elapsedMs: ms,
      outputBytes,
      ...inline,
    })
  }

  /** Lets a timer fire at its time. */
  fire(kind: string): SchedulerEffect[] {
    const timer = `${kind}|${JOB}`
    const at = this.timers.get(timer)
    if (at === undefined) throw new Error(`timer ${kind} is not set`)
    this.timers.delete(timer)
    this.now = Math.max(this.now, at)
    return this.on({ type: 'timerFired', timer })
  }

  /** The same for a timer that belongs to no job. */
  fireAlone(timer: 'beat' | 'lease', lateMs = 0): SchedulerEffect[] {
    const at = this.timers.get(timer)
    if (at === undefined) throw new Error(`timer ${timer} is not set`)
    this.now = Math.max(this.now, at + lateMs)
    return this.on({ type: 'timerFired', timer })
  }

  /** Time passes, and timers fire as they come; returns all effects. */
  pass(ms: number): SchedulerEffect[] {
    const until = this.now + ms
    const all: SchedulerEffect[] = []
    for (;;) {
      let next: [string, number] | undefined
      for (const entry of this.timers) {
        if (entry[1] <= until && (next === undefined || entry[1] < next[1])) next = entry
      }
      if (next === undefined) break
      this.timers.delete(next[0])
      this.now = Math.max(this.now, next[1])
      all.push(...this.on({ type: 'timerFired', timer: next[0] }))
    }
    this.now = until
    return all
  }

  steal(thief: PeerFacts, nonce: number, rate?: number, idle = 1): SchedulerEffect[] {
    return this.on({
      type: 'stealRequested',
      from: thief.peer,
      session: thief.session,
      job: JOB,
      nonce,
      rate,
      idle,
    })
  }

  get view() {
    const view = this.scheduler.job(JOB)
    if (view === undefined) throw new Error('the job is not known')
    return view
  }
}

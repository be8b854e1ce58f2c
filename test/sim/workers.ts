import type {
  JobId,
  PeerId,
  ResultRef,
  SchedulerEffect,
  SchedulerEvent,
} from '../../src/scheduler/types.ts'
import { checkNotEarly } from './control.ts'
import type { Process } from './process.ts'
import { simHash } from './seal.ts'
import { bump } from './truth.ts'

type Effect<T extends SchedulerEffect['type']> = Extract<SchedulerEffect, { type: T }>

/** What starting and ending a chunk costs a worker, ms. */
const CHUNK_OVERHEAD_MS = 0.3
/** An item that throws does so until this try of it, and waits so long after the first, doubled each time. */
export const TRIES = 3
const RETRY_MS = 200
/** A keeper that has not answered by then is not waited for. */
const PLACE_TIMEOUT_MS = 5_000

interface Running {
  readonly job: JobId
  readonly lo: number
  readonly startedAt: number
  readonly copy: boolean
  /** Where its time is up. */
  readonly reach: number
  readonly attempt: number
  /** Its first item that throws, when it comes that far. */
  readonly throwsAt: number | undefined
  /** Cleared when the chunk ended, so that a late event of it is dropped. */
  alive: boolean
}

/** The worker slots of one process, and the keepers of what they make. */
export class Workers {
  private readonly process: Process
  private readonly running = new Map<number, Running>()

  constructor(process: Process) {
    this.process = process
  }

  get busy(): number {
    return this.running.size
  }

  start(effect: Effect<'startChunk'>): void {
    const { chunk, job, lo, hi, budgetMs, speculative } = effect
    this.process.world.checkReady(this.process, job, effect)
    const { process } = this
    const { world, host } = process
    if (this.running.size >= host.facts.slots)
      world.truth.problem(`${process.name}: too many chunks`)
    if (speculative && !world.options.speculate) {
      world.truth.problem(`${process.name} runs a copy, which the job forbids`)
    }
    const { clock, workload } = world
    const { speed } = host.facts
    checkNotEarly(world, process, job)
    const inTime = workload.reach(lo, hi, budgetMs * speed)
    const { attempt } = effect
    const throwsAt = this.firstThrow(lo, inTime, attempt)
    const reach = throwsAt ?? inTime
    const common = { job, lo, startedAt: clock.now, copy: speculative }
    const run: Running = { ...common, reach, attempt, throwsAt, alive: true }
    this.running.set(chunk, run)
    if (speculative) world.copiers.add(process.facts.session)
    world.tell(process, speculative ? 'starts a copy of' : 'starts', lo, reach)
    const lasts = workload.cost(lo, throwsAt === undefined ? reach : throwsAt + 1) / speed
    if (world.options.tellProgress) {
      clock.after(CHUNK_OVERHEAD_MS + lasts / 2, () =>
        this.tell(run, () => ({ type: 'chunkProgressed', chunk, reached: this.progress(run) })),
      )
    }
    clock.after(CHUNK_OVERHEAD_MS + lasts, () => {
      if (run.alive && process.alive) this.end(chunk, run, reach, throwsAt !== undefined)
    })
  }

  private firstThrow(lo: number, hi: number, attempt: number): number | undefined {
    const { throwEvery } = this.process.world.options
    if (throwEvery === undefined || attempt >= TRIES) return undefined
    const first = Math.ceil(lo / throwEvery) * throwEvery
    return first < hi ? first : undefined
  }

  abort(chunk: number): void {
    const run = this.running.get(chunk)
    if (run === undefined) return
    this.process.world.clock.after(0, () => {
      if (run.alive && this.process.alive) this.end(chunk, run, this.progress(run))
    })
  }

  /** A peer that stops lets its chunks go at the item that they are at. */
  abortAll(): void {
    for (const chunk of [...this.running.keys()]) this.abort(chunk)
  }

  /** The process is gone, and what its workers were at with it. */
  die(): void {
    const { truth, workload } = this.process.world
    for (const run of this.running.values()) {
      const reached = this.progress(run)
      // What ended while its peer was stopped is accounted for.
      if (run.alive) this.account(run, reached)
      run.alive = false
      truth.died += workload.cost(run.lo, reached)
    }
    this.running.clear()
  }

  private tell(run: Running, event: () => SchedulerEvent): void {
    this.process.run('io', () => {
      if (run.alive) this.process.handle(event())
    })
  }

  /** Whole items that a chunk has finished by now. */
  private progress(run: Running): number {
    const { world, host } = this.process
    const { clock, workload } = world
    const spent = (clock.now - run.startedAt - CHUNK_OVERHEAD_MS) * host.facts.speed
    if (spent <= 0) return run.lo
    const at = workload.reach(run.lo, run.reach, spent)
    return workload.cost(run.lo, at) > spent ? at - 1 : at
  }

  private account(run: Running, reached: number, threw = false): void {
    const { world, host } = this.process
    const begun = reached < run.reach || threw ? reached + 1 : reached
    if (threw) bump(world.truth.throws, reached, reached + 1)
    if (world.options.control.ratePer1000s !== undefined) this.noteTimes(run, begun)
    world.tell(this.process, `ran to ${reached}, from`, run.lo, begun)
    const { lo, copy } = run
    world.truth.ran(host.id, { lo, reached, begun, copy, at: world.clock.now })
    world.truth.spent += (world.clock.now - run.startedAt) * host.facts.speed
  }

  private noteTimes({ lo, startedAt }: Running, begun: number): void {
    const { world, host } = this.process
    for (let item = lo; item < begun; item += 1) {
      const before = world.workload.cost(lo, item) / host.facts.speed
      world.truth.begunAt.push(startedAt + CHUNK_OVERHEAD_MS + before)
    }
  }

  /** The workers go on while their peer is stopped; it hears of it later. */
  private end(chunk: number, run: Running, reached: number, threw = false): void {
    const { process } = this
    const { world, host } = process
    run.alive = false
    this.account(run, reached, threw)
    const outputBytes = (reached - run.lo) * world.options.valueBytes
    const inline = outputBytes > 0 && outputBytes <= 1024
    const elapsedMs = world.workload.cost(run.lo, reached) / host.facts.speed
    process.run('io', () => {
      this.running.delete(chunk)
      if (run.copy) world.copiers.delete(process.facts.session)
      process.handle({
        type: 'chunkEnded',
        chunk,
        reached,
        failed: failuresIn(run.lo, reached, world.options.failEvery),
        elapsedMs,
        outputBytes,
        ...(inline ? { inline: new Uint8Array(outputBytes) } : {}),
        ...(threw
          ? { retry: { delayMs: RETRY_MS * 2 ** run.attempt, attempt: run.attempt + 1 } }
          : {}),
      })
    })
  }

  /** Offers the output to each keeper; the receipts that are there by the time-out count, and this peer's own when there is none. */
  place({ chunk, keepers }: Effect<'placeResult'>): void {
    const { process } = this
    const { clock, network, truth } = process.world
    const self = process.host.id
    const hash = simHash(`${process.facts.session}|${chunk}`) as Extract<
      ResultRef,
      { kind: 'blob' }
    >['hash']
    const receipts: PeerId[] = []
    let waiting = 1
    let over = false
    const finish = (): void => {
      if (over) return
      over = true
      process.run('io', () => {
        if (receipts.length === 0) receipts.push(self)
        if (receipts.includes(self)) truth.stored(hash, self)
        const result: ResultRef = { kind: 'blob', hash, sizeBytes: 1, keepers: [...receipts] }
        process.handle({ type: 'chunkPlaced', chunk, result })
      })
    }
    const answered = (keeper: PeerId | undefined): void => {
      if (over) return
      if (keeper !== undefined && !receipts.includes(keeper)) receipts.push(keeper)
      waiting -= 1
      if (waiting === 0) finish()
    }
    for (const keeper of keepers) {
      const target = process.links.get(keeper)
      if (keeper !== self && target === undefined) continue
      waiting += 1
      if (keeper === self || target === undefined) {
        clock.after(1, () => answered(self))
        continue
      }
      network.send(process.host, target.host, 'offer', () =>
        target.run('io', () => {
          truth.stored(hash, keeper)
          network.send(target.host, process.host, 'receipt', () => answered(keeper))
        }),
      )
    }
    answered(undefined)
    if (!over) clock.after(PLACE_TIMEOUT_MS, finish)
  }
}

/** Items of lo..hi-1 that fail: number 0 and every so many. */
export function failuresIn(lo: number, hi: number, every: number | undefined): number {
  return every === undefined ? 0 : Math.ceil(hi / every) - Math.ceil(lo / every)
}

import { expect, it } from 'vitest'
import { ChunkRun, type Workers } from '../../../src/runtime/chunk-run.ts'
import { readEnded, readItemProgress, readLog } from '../../../src/runtime/reports.ts'
import { encodeSegment, encodeValue } from '../../../src/runtime/segment.ts'
import type { ChunkOutcome, ChunkRequest } from '../../../src/runtime/types.ts'
import type { RunFrame } from '../../../src/runtime/worker/frames.ts'
import type { Death, RunEvents, WorkerProcess } from '../../../src/runtime/worker-process.ts'
import { mutateBytes } from './mutate.ts'
import { Random } from './random.ts'
import { SEED } from './seed.ts'

/** A task can write on the pipe of its worker. Whatever it says there: the chunk ends, and what it tells the peer makes sense. */
const CASES = Math.max(1_000, 500 * Number(process.env.MESH_FUZZ_SECONDS ?? 0))
const NUMBERS = [Number.NaN, -1, 0, 0.5, 1, 5, 10, 11, 1e300, Number.POSITIVE_INFINITY, 2 ** 53]
const STRANGERS = [...NUMBERS, '5', 5n, null, undefined, [], {}, true, -0, new Map(), '\ud800']
const ENDS = ['range', 'time', 'output', 'aborted', 'inputLost', 'whatever']

class LyingWorker {
  readonly memoryBytes = 1
  readonly loaded = Promise.resolve({
    ok: true,
    ready: { name: 't', kind: 'task', hasSchema: false },
  })
  readonly takeEarlyLines = () => []
  served = 0
  events: RunEvents | undefined
  private killed: Death['killed']
  private readonly random: Random

  constructor(random: Random) {
    this.random = random
  }

  /** As WorkerProcess does on frames from its pipe: what throws is the worker's end. */
  run(frame: RunFrame, events: RunEvents): void {
    this.events = events
    setImmediate(() => {
      for (let n = this.random.int(12); n > 0 && this.events !== undefined; n--) {
        try {
          this.say(frame)
        } catch {
          this.kill('protocol')
        }
      }
      if (this.events !== undefined) this.kill(undefined)
    })
  }

  abort(): void {
    this.kill('aborted')
  }

  kill(reason: Death['killed']): void {
    this.killed ??= reason
    const { events, killed, random } = this
    this.events = undefined
    const item = random.pick([undefined, 0, 3, 9, 100])
    const dying = random.oneIn(2) ? undefined : { item, exitCode: 1 }
    events?.onDeath({ exitCode: 1, signal: null, dying, stderr: '', killed, memoryBytes: 1 })
  }

  private say({ run, lo, hi }: RunFrame): void {
    const { random, events } = this
    const number = () => random.pick([run, lo, hi, hi - 1, ...NUMBERS])
    const any = <T>(right: T): unknown => (random.oneIn(6) ? random.pick(STRANGERS) : right)
    const packed = (value: unknown) => {
      const bytes = encodeValue(value)
      return random.oneIn(8) ? mutateBytes(bytes, random, [bytes]) : bytes
    }
    switch (random.int(5)) {
      case 0: {
        const to = random.oneIn(4) ? (number() as number) : Math.min(hi, lo + 1 + random.int(4))
        const count = Number.isSafeInteger(to - lo) && to > lo && to - lo < 20 ? to - lo : 2
        const bytes = encodeSegment(new Array(count).fill(1))
        const changed = random.oneIn(6) ? mutateBytes(bytes, random, [bytes]) : bytes
        const from = random.oneIn(6) ? (number() as number) : lo
        events?.onOutput(run, from, to, random.oneIn(6) ? 2 ** 32 - 1 : 0, changed)
        break
      }
      case 1: {
        const item = number() as number
        // WorkerProcess lets no other number through.
        if (Number.isSafeInteger(item)) events?.onMark(run, item, random.oneIn(2))
        break
      }
      case 2: {
        const ended = {
          run: any(run),
          reached: any(random.pick([lo, hi])),
          failed: any(0),
          elapsedMs: any(random.pick(NUMBERS)),
          ended: any(random.pick(ENDS)),
          rssBytes: any(1),
          ...(random.oneIn(3) ? { message: any('m') } : {}),
        }
        events?.onEnded(readEnded(packed(ended)))
        break
      }
      case 3: {
        const line = { stream: any('stdout'), text: any('text'), item: any(lo) }
        events?.onLog(readLog(packed(line)))
        break
      }
      default: {
        const { item, fraction } = readItemProgress(packed({ item: any(lo), fraction: any(0.5) }))
        events?.onItemProgress(item, fraction)
      }
    }
  }
}

const request: ChunkRequest = {
  job: 'job',
  lo: 0,
  hi: 10,
  budgetMs: 1_000,
  input: { kind: 'range', start: 0 },
  bundle: { hash: '', path: '' },
  args: undefined,
  retries: 1,
  timeLimitMs: undefined,
  memoryBytes: undefined,
  maxItemsPerWorker: undefined,
  peer: { id: '', name: '' },
} as ChunkRequest

async function chunkOf(random: Random): Promise<ChunkOutcome | Error> {
  const workers: Workers = {
    acquire: () => new LyingWorker(random) as unknown as WorkerProcess,
    release: () => {},
    discard: () => {},
    allowance: () => 100,
    prestart: () => {},
    broken: () => undefined,
    setBroken: () => {},
  }
  let at = 0
  const chunk = new ChunkRun(workers, request, {
    onOutput: ({ lo, hi, failed }) => {
      expect(lo).toBe(at)
      expect(Number.isSafeInteger(hi) && hi > lo && hi <= request.hi).toBe(true)
      expect(failed <= hi - lo).toBe(true)
      at = hi
    },
    onProgress: (reached) => {
      expect(Number.isSafeInteger(reached) && reached > 0 && reached <= request.hi).toBe(true)
    },
    onLog: ({ stream, text, item }) => {
      expect(['stdout', 'stderr', 'log']).toContain(stream)
      expect(typeof text).toBe('string')
      expect(item === undefined || Number.isSafeInteger(item)).toBe(true)
    },
    onItemProgress: (item, fraction) => {
      expect(Number.isSafeInteger(item) && Number.isFinite(fraction)).toBe(true)
    },
  })
  chunk.start()
  if (random.oneIn(5)) setImmediate(() => chunk.abort())
  const outcome = await chunk.done.catch((error: Error) => error)
  if (!(outcome instanceof Error)) expect(outcome.reached).toBe(at)
  return outcome
}

it('a chunk ends, and tells what makes sense, whatever its worker says', async () => {
  const ends = new Set<string>()
  for (let i = 0; i < CASES; i++) {
    const random = new Random(`${SEED} worker ${i}`)
    try {
      const outcome = await chunkOf(random)
      if (outcome instanceof Error) {
        expect(outcome).toMatchObject({ code: 'ERR_MESH_INPUT_LOST' })
        continue
      }
      const { failed, elapsedMs, ended, reached } = outcome
      expect(Number.isFinite(elapsedMs) && elapsedMs >= 0).toBe(true)
      expect(failed <= reached - request.lo).toBe(true)
      if (ended === 'range') expect(reached).toBe(request.hi)
      ends.add(ended)
    } catch (cause) {
      throw new Error(`seed ${SEED}, case ${i}: ${String(cause)}`, { cause })
    }
  }
  expect(ends).toContain('range')
  expect(ends).toContain('aborted')
})

import { describe, expect, it } from 'vitest'
import { planChunk, RateBook, RateMeter } from '../../../src/scheduler/chunks.ts'
import { MAX_KNOWN_RATES, MAX_RATE_KEY_CHARS } from '../../../src/scheduler/limits.ts'
import type { JobId, JobSpec } from '../../../src/scheduler/types.ts'
import { Bench, Feed, factsOf, JOB, specOf } from './builders.ts'

const NEXT = 'b'.repeat(64) as JobId

/** A bench on which a job of the task ran at 100 items a millisecond. */
function warmed(): Bench {
  const bench = new Bench()
  bench.submit(100)
  // Its rate is not known: a chunk takes half, and then half of the rest.
  while (bench.all('startChunk').length > 0) {
    const { chunk, lo, hi } = bench.find('startChunk')
    bench.on({
      type: 'chunkEnded',
      chunk,
      reached: hi,
      failed: 0,
      elapsedMs: (hi - lo) / 100,
      outputBytes: 3,
      inline: Uint8Array.of(1, 2, 3),
    })
  }
  expect(bench.scheduler.job(JOB)?.state).toBe('finished')
  return bench
}

function submit(bench: Bench, spec: JobSpec): void {
  bench.on({ type: 'submitted', job: NEXT, spec, at: 7 })
}

/** Another peer has a job of so many items of that task, all of them its own. */
function meet(bench: Bench, count: number): Feed {
  const author = new Feed(factsOf('author'))
  bench.see(author.facts)
  bench.receive(author.write({ type: 'job', spec: specOf(count), at: 0, seeds: [] }, NEXT))
  return author
}

describe('a task that ran here before', () => {
  it('is handed out whole where it takes a moment', () => {
    const bench = warmed()
    submit(bench, specOf(80))
    expect(bench.find('startChunk')).toMatchObject({ job: NEXT, lo: 0, hi: 80 })
  })

  it('with other args, or another task, is not known', () => {
    for (const other of [
      specOf(80, { args: 'c0' }),
      { ...specOf(80), task: { ...specOf(80).task, bundle: 'd'.repeat(64) } } as JobSpec,
    ]) {
      const bench = warmed()
      submit(bench, other)
      expect(bench.find('startChunk')).toMatchObject({ lo: 0, hi: 40 })
    }
  })

  it('leaves each slot its part: these items may be slow ones', () => {
    const at = { lo: 0, end: 80, left: 80, contended: false, chunkSize: undefined }
    expect(planChunk({ ...at, slots: 4, perMs: 100, guessed: true }).hi).toBe(20)
    expect(planChunk({ ...at, slots: 4, perMs: 100 }).hi).toBe(80)
  })

  it('is not asked for when the others are through with it before an answer came; but once only', () => {
    const bench = warmed()
    const author = meet(bench, 300)
    // 3 ms of work.
    expect(bench.all('sendSteal')).toEqual([])
    bench.now = bench.timers.get(`idle|${NEXT}`)!
    expect(bench.now).toBe(250)
    bench.on({ type: 'timerFired', timer: `idle|${NEXT}` })
    expect(bench.find('sendSteal').to).toBe(author.facts.peer)
  })

  it('is asked for when there is more of it', () => {
    const bench = warmed()
    const author = meet(bench, 30_000)
    expect(bench.find('sendSteal').to).toBe(author.facts.peer)
  })
})

describe('what is known of tasks', () => {
  it('gives way to what is seen', () => {
    const meter = new RateMeter(5)
    expect([meter.perMs, meter.isGuess]).toEqual([5, true])
    meter.add(20, 10)
    expect([meter.perMs, meter.isGuess]).toEqual([2, false])
    expect([new RateMeter().perMs, new RateMeter().isGuess]).toEqual([undefined, false])
  })

  it('is forgotten when others came since, the oldest first', () => {
    const book = new RateBook()
    for (let i = 0; i < MAX_KNOWN_RATES; i += 1) book.note(`task ${i}`, i + 1)
    book.note('task 0', 7)
    book.note('one more', 1)
    expect(book.get('task 0')).toBe(7)
    expect(book.get('task 1')).toBeUndefined()
    expect(book.get('task 2')).toBe(3)
  })

  it('is not kept for what takes long to name: a thousand steps, KiB of args', () => {
    const book = new RateBook()
    book.note('x'.repeat(MAX_RATE_KEY_CHARS), 3)
    expect(book.get('x'.repeat(MAX_RATE_KEY_CHARS))).toBe(3)
    book.note('x'.repeat(MAX_RATE_KEY_CHARS + 1), 3)
    expect(book.get('x'.repeat(MAX_RATE_KEY_CHARS + 1))).toBeUndefined()
  })
})

import { expect, test } from 'vitest'
import { eventsBetween, viewOf } from '../../../cli/lib/mesh-events.ts'
import { HARDWARE, jobInfo, peerInfo, WALL_CLOCK } from './helpers.ts'

const self = peerInfo()
const tower = peerInfo({
  id: '7'.repeat(64),
  name: 'tower',
  self: false,
  address: '/ip4/127.0.0.1/tcp/9',
})
const idle = peerInfo({ id: '8'.repeat(64), name: 'pi', self: false, slots: 0 })

test('peers come and go', () => {
  const before = viewOf([self], [])
  expect(eventsBetween(before, [self, tower, idle], [], WALL_CLOCK)).toEqual([
    '+ peer 77777777 tower is here, lends 4 cores (/ip4/127.0.0.1/tcp/9)',
    '+ peer 88888888 pi is here, lends nothing ()',
  ])
  const after = viewOf([self, tower, idle], [])
  expect(eventsBetween(after, [self, tower, idle], [], WALL_CLOCK)).toEqual([])
  expect(eventsBetween(after, [self, { ...tower, connected: false }], [], WALL_CLOCK)).toEqual([
    '- peer 77777777 tower is gone',
    '- peer 88888888 pi is gone',
  ])
  // Between two looks it went and came back.
  const again = { ...tower, session: 'b'.repeat(32) }
  expect(eventsBetween(after, [self, again, idle], [], WALL_CLOCK)).toEqual([
    '+ peer 77777777 tower has started again, lends 4 cores (/ip4/127.0.0.1/tcp/9)',
  ])
})

test('a GPU is told when a peer comes with one, or its probe has ended', () => {
  const gifted = { ...tower, gpu: HARDWARE }
  expect(eventsBetween(viewOf([], []), [gifted], [], WALL_CLOCK)).toEqual([
    '+ peer 77777777 tower is here, lends 4 cores, GPU: NVIDIA H200, 51.2 TFLOP/s (/ip4/127.0.0.1/tcp/9)',
  ])
  expect(eventsBetween(viewOf([tower], []), [gifted], [], WALL_CLOCK)).toEqual([
    '~ peer 77777777 tower has a GPU: NVIDIA H200, 51.2 TFLOP/s',
  ])
  expect(eventsBetween(viewOf([gifted], []), [gifted], [], WALL_CLOCK)).toEqual([])
})

test('jobs start and finish, each told once', () => {
  const job = jobInfo({ items: 100 })
  const done = {
    ...job,
    state: 'finished' as const,
    failed: 2,
    finishedAt: new Date(WALL_CLOCK - 70_000).toISOString(),
  }
  expect(eventsBetween(viewOf([], []), [], [job], WALL_CLOCK)).toEqual([
    '> job ab12ab12 primes: 100 items',
  ])
  expect(eventsBetween(viewOf([], [job]), [], [done], WALL_CLOCK)).toEqual([
    '= job ab12ab12 primes finished: 100 items in 10 s, 2 failed',
  ])
  expect(eventsBetween(viewOf([], [done]), [], [done], WALL_CLOCK)).toEqual([])
  const kernel = { ...job, output: [640, 100] }
  expect(eventsBetween(viewOf([], []), [], [kernel], WALL_CLOCK)).toEqual([
    '> job ab12ab12 primes: 100 rows',
  ])
  expect(eventsBetween(viewOf([], []), [], [{ ...job, state: 'cancelled' }], WALL_CLOCK)).toEqual([
    '> job ab12ab12 primes: 100 items',
    'x job ab12ab12 primes was cancelled',
  ])
})

test('a mesh of thousands does not scroll for ever', () => {
  const many = Array.from({ length: 1000 }, (_, at) =>
    peerInfo({ id: at.toString(16).padStart(64, '0'), self: false }),
  )
  const lines = eventsBetween(viewOf([], []), many, [], WALL_CLOCK)
  expect(lines).toHaveLength(21)
  expect(lines.at(-1)).toBe('… and 980 more events')
})

test('jobs are paused, go on, and are cancelled with a reason', () => {
  const running = jobInfo()
  const paused = jobInfo({ state: 'paused' })
  const between = (was: typeof running, is: typeof running) =>
    eventsBetween(viewOf([], [was]), [], [is], WALL_CLOCK)
  expect(between(running, paused)).toEqual(['~ job ab12ab12 primes is paused'])
  expect(between(paused, paused)).toEqual([])
  expect(between(paused, running)).toEqual(['~ job ab12ab12 primes goes on'])
  const cancelled = { by: '7'.repeat(64), name: 'tower', reason: 'wrong\u001b[2J file' }
  expect(between(paused, jobInfo({ state: 'cancelled', cancelled }))).toEqual([
    'x job ab12ab12 primes was cancelled by tower: wrong file',
  ])
  expect(between(running, jobInfo({ state: 'cancelled' }))).toEqual([
    'x job ab12ab12 primes was cancelled',
  ])
})

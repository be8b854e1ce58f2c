import { describe, expect, test, vi } from 'vitest'
import { lossTeller, lossText, pauseTeller, tellSleep } from '../../../cli/lib/happenings.ts'
import { bytes, days } from '../../../cli/lib/quantities.ts'
import type { PeerLossInfo } from '../../../src/node/types.ts'
import { jobInfo } from './helpers.ts'

const loss: PeerLossInfo = {
  id: '77'.repeat(32),
  name: 'box2',
  items: 1234,
  at: '2030-01-02T03:04:05.000Z',
  restarted: false,
}

describe('losses', () => {
  test('in words', () => {
    expect(lossText(loss)).toBe('peer box2 lost: its 1 234 items go to others')
    expect(lossText({ ...loss, items: 0 })).toBe('peer box2 lost')
    expect(lossText({ ...loss, restarted: true })).toMatch(/^peer box2 started again/)
    expect(lossText({ ...loss, name: 'a\u001b[2Jb' })).not.toContain('\u001b')
  })

  test('each is told once, and those from before are not news', () => {
    const told: string[] = []
    const tell = lossTeller((text) => told.push(text))
    tell(jobInfo({ peersLost: [loss] }))
    expect(told).toEqual([])
    const second = { ...loss, name: 'box3', at: '2030-01-02T03:05:00.000Z' }
    tell(jobInfo({ peersLost: [loss, second] }))
    tell(jobInfo({ peersLost: [loss, second] }))
    expect(told).toEqual(['peer box3 lost: its 1 234 items go to others'])
  })
})

test('a pause and its end are told once each, an end of the job is not', () => {
  const told: string[] = []
  const tell = pauseTeller((text) => told.push(text))
  for (const state of ['running', 'paused', 'paused', 'running', 'paused', 'cancelled'] as const) {
    tell(jobInfo({ state, short: '77aa01b2' }))
  }
  const paused = 'job 77aa01b2 is paused; `mesh resume 77aa01b2` lets it go on'
  expect(told).toEqual([paused, 'job 77aa01b2 goes on', paused])
})

describe('a machine that sleeps', () => {
  test('shows on the wall clock, a stopped process on both clocks; a short delay is nothing', () => {
    vi.useFakeTimers()
    try {
      const clock = { mono: 0, wall: 0 }
      const told: string[] = []
      const stop = tellSleep({ now: () => clock.mono, wallClock: () => clock.wall }, (text) =>
        told.push(text),
      )
      const pass = (mono: number, wall: number): void => {
        clock.mono += mono
        clock.wall += wall
        vi.advanceTimersByTime(1_000)
      }
      pass(1_000, 1_000)
      pass(9_000, 9_000)
      expect(told).toEqual([])
      pass(1_000, 180_000)
      expect(told[0]).toMatch(/slept \(or was stopped\) for 3 min 00 s/)
      pass(60_000, 60_000)
      expect(told).toHaveLength(2)
      stop()
      pass(90_000, 90_000)
      expect(told).toHaveLength(2)
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('times and sizes', () => {
  test.each([
    ['7d', 7],
    ['12h', 0.5],
    ['36 h', 1.5],
    ['90min', 0.0625],
    ['2w', 14],
    ['0', 0],
    ['1.5d', 1.5],
  ])('--keep %s', (text, value) => expect(days(text)).toBeCloseTo(value))

  test.each([
    ['10GB', 10e9],
    ['512MiB', 512 * 2 ** 20],
    ['1_000 kb', 1e6],
    ['0', 0],
    ['1.5g', 1.5e9],
  ])('--keep-size %s', (text, value) => expect(bytes(text)).toBe(value))

  test.each(['', '7', 'd', '-1d', '7y', '1e3d', '40000d', 'constructor'])(
    'days refuse %j',
    (text) => {
      expect(() => days(text)).toThrow(/such as 7d/)
    },
  )

  test.each(['', '7', 'GB', '-1GB', '5XB', '99999999TB'])('sizes refuse %j', (text) => {
    expect(() => bytes(text)).toThrow(/such as 10GB/)
  })
})

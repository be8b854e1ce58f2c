import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DEAD_CONNECTION_MS, QUIET_MS, SILENT_MS } from '../../../src/node/transport/limits.ts'
import { Pulse, type Pulsing } from '../../../src/node/transport/pulse.ts'
import type { PeerId } from '../../../src/scheduler/types.ts'

class FakeLink implements Pulsing {
  readonly peer = 'a'.repeat(64) as PeerId
  answersPings = true
  bytesHeard = 0
  silent = false
  pings = 0
  aborted: string | undefined

  ping(): void {
    this.pings += 1
  }

  abort(reason: string): void {
    this.aborted = reason
  }
}

const STEP_MS = 500

let now = 0
let link: FakeLink
let links: FakeLink[]
let told: string[]
let pulse: Pulse

beforeEach(() => {
  now = 1_000
  link = new FakeLink()
  links = [link]
  told = []
  pulse = new Pulse({
    links: () => links,
    onSilent: () => told.push('silent'),
    onHeard: () => told.push('heard'),
    now: () => now,
  })
})
afterEach(() => pulse.stop())

/** Time passes; `each` is called before each look. */
function pass(ms: number, each: () => void = () => undefined): void {
  for (let left = ms; left > 0; left -= STEP_MS) {
    now += STEP_MS
    each()
    pulse.look()
  }
}

const hears = (): void => {
  link.bytesHeard += 4
}

describe('a connection', () => {
  it('that is heard is left alone, but for a round trip now and then', () => {
    pass(60_000, hears)
    expect(told).toEqual([])
    expect(link.pings).toBeGreaterThanOrEqual(5)
    expect(link.pings).toBeLessThanOrEqual(7)
  })

  it('that is quiet is pinged once, and after the answer no peer is looked for', () => {
    pass(1_000, hears)
    const before = link.pings
    pass(QUIET_MS)
    expect(link.pings).toBe(before + 1)
    pass(SILENT_MS - STEP_MS)
    expect(link.pings).toBe(before + 1)
    pass(STEP_MS, hears)
    expect(told).toEqual([])
  })

  it('that does not answer is told, once; heard again, it is told again', () => {
    pass(1_000, hears)
    pass(QUIET_MS + SILENT_MS)
    expect(told).toEqual(['silent'])
    expect(link.silent).toBe(true)
    pass(5_000)
    expect(told).toEqual(['silent'])
    pass(STEP_MS, hears)
    expect(told).toEqual(['silent', 'heard'])
    expect(link.silent).toBe(false)
  })

  it('on which nothing came for 30 s is given up, not before', () => {
    pass(1_000, hears)
    pass(DEAD_CONNECTION_MS - STEP_MS)
    expect(link.aborted).toBeUndefined()
    pass(STEP_MS)
    expect(link.aborted).toBeDefined()
  })

  it('is not blamed for the time that this peer itself slept, and shows at once whether it is there', () => {
    pass(1_000, hears)
    const before = link.pings
    now += 3_600_000
    pulse.look()
    expect([link.aborted, told, link.pings]).toEqual([undefined, [], before + 1])
    pass(SILENT_MS - STEP_MS)
    expect(told).toEqual([])
    pass(STEP_MS)
    expect(told).toEqual(['silent'])
  })

  it('of a peer that answers no pings is not watched', () => {
    link.answersPings = false
    pass(120_000)
    expect([link.pings, told, link.aborted]).toEqual([0, [], undefined])
  })

  it('of many is pinged less often', () => {
    links = Array.from({ length: 128 }, () => new FakeLink())
    pass(500)
    const before = links[0]!.pings
    pass(9_000)
    expect(links[0]!.pings).toBe(before)
    expect(told).toEqual([])
  })
})

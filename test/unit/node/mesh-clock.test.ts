import { describe, expect, it } from 'vitest'
import { CLOCK_STEP_MS, MAX_CLOCK_READINGS, MAX_CLOCKS } from '../../../src/node/limits.ts'
import { MeshClock } from '../../../src/node/mesh-clock.ts'
import type { PeerId } from '../../../src/scheduler/types.ts'
import { peerId } from './small-mesh.ts'

const WALL = 1_800_000_000_000
const HOUR = 3_600_000

class Rig {
  now = 1_000
  /** By how much this machine's clock is wrong. */
  wrongMs = 0
  readonly dead = new Set<PeerId>()
  readonly told: number[] = []
  readonly clock = new MeshClock({
    now: () => this.now,
    wallClock: () => this.right() + this.wrongMs,
    live: (peer) => !this.dead.has(peer),
    changed: (offsetMs) => this.told.push(offsetMs),
  })

  right(): number {
    return WALL + this.now
  }

  /** Peer n says what its clock says, `lateMs` after it looked. */
  hear(n: number, wrongMs: number, lateMs = 0): void {
    this.clock.heard(peerId(n), this.right() + wrongMs - lateMs)
  }
}

describe("the mesh's clock", () => {
  it("is this machine's own while nobody else is there, and is told at once", () => {
    const rig = new Rig()
    rig.clock.look()
    expect(rig.told).toEqual([WALL])
    expect(rig.clock.wall()).toBe(WALL + 1_000)
    expect(rig.clock.aheadMs()).toBe(0)
  })

  it('is the median: one clock that is an hour off changes nothing, its own peer sees the others', () => {
    const rig = new Rig()
    rig.wrongMs = HOUR
    rig.hear(1, 10)
    rig.hear(2, -10)
    expect(rig.clock.wall()).toBe(rig.right() + 10)
    expect(rig.clock.aheadMs()).toBe(HOUR - 10)
    rig.hear(3, 0)
    rig.hear(4, -HOUR)
    expect(rig.clock.wall()).toBe(rig.right())
  })

  it('of two peers is the earlier one: the one that is ahead starts nothing early', () => {
    const ahead = new Rig()
    ahead.wrongMs = HOUR
    ahead.hear(1, 0)
    expect(ahead.clock.wall()).toBe(ahead.right())
    const right = new Rig()
    right.hear(1, HOUR)
    expect(right.clock.wall()).toBe(right.right())
  })

  it('is told again only when it moved by more than 50 ms', () => {
    const rig = new Rig()
    rig.clock.look()
    rig.hear(1, -CLOCK_STEP_MS)
    expect(rig.told).toHaveLength(1)
    rig.hear(2, -CLOCK_STEP_MS - 1)
    rig.hear(3, -CLOCK_STEP_MS - 1)
    expect(rig.told).toEqual([WALL, WALL - CLOCK_STEP_MS - 1])
    rig.wrongMs = -HOUR
    rig.clock.look()
    expect(rig.told).toHaveLength(2)
  })

  it('counts the least delayed of the last readings of a peer', () => {
    const rig = new Rig()
    rig.wrongMs = HOUR
    rig.hear(1, 0, 900)
    rig.hear(1, 0, 3)
    rig.hear(1, 0, 4_000)
    expect(rig.clock.wall()).toBe(rig.right() - 3)
    // A clock that was set back is believed once the readings before it are forgotten.
    for (let i = 0; i < MAX_CLOCK_READINGS; i += 1) rig.hear(1, -5_000)
    expect(rig.clock.wall()).toBe(rig.right() - 5_000)
  })

  it('forgets who is gone, and does not ask who is silent', () => {
    const rig = new Rig()
    rig.hear(1, -HOUR)
    rig.hear(2, -HOUR)
    expect(rig.clock.wall()).toBe(rig.right() - HOUR)
    rig.dead.add(peerId(1))
    rig.clock.gone(peerId(2))
    expect(rig.clock.wall()).toBe(rig.right())
    expect(rig.told.at(-1)).toBe(WALL)
  })

  it('holds so many clocks at most, the latest heard', () => {
    const rig = new Rig()
    for (let n = 1; n <= MAX_CLOCKS; n += 1) rig.hear(n, -HOUR)
    // As many say otherwise later: none of the first is left to be counted.
    for (let n = 1; n <= MAX_CLOCKS; n += 1) rig.hear(100 + n, HOUR)
    expect(rig.clock.wall()).toBe(rig.right() + HOUR)
  })
})

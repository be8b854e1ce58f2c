import { describe, expect, it } from 'vitest'
import { Crowd, type CrowdJob } from './crowd.ts'

const MESH = { seed: 5, peers: 4, slots: 2, latencyMs: 1 }

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}

/** How long each waited for its first start. */
function waits(crowd: Crowd, jobs: readonly CrowdJob[]): number[] {
  return jobs.map(({ submittedAt, startedAt }) => (startedAt ?? crowd.clock.now) - submittedAt)
}

describe('1 000 jobs at once, items of 50 ms and less', () => {
  it.each([
    ['of all peers, and the new ones of one of them', (i: number) => i % MESH.peers],
    ['of one submitter, as the new ones', () => 0],
  ])('a new job of one item starts within 250 ms: %s', (_, submitterOf) => {
    const crowd = new Crowd(MESH)
    for (let i = 0; i < 1_000; i += 1) {
      const itemMs = crowd.prng.between(5, 50)
      crowd.submit(crowd.nodes[submitterOf(i)]!, 40, itemMs)
    }
    const probes: CrowdJob[] = []
    crowd.runUntil(500)
    for (let i = 0; i < 50; i += 1) {
      probes.push(crowd.submit(crowd.nodes[0]!, 1, 50))
      crowd.runUntil(crowd.clock.now + crowd.prng.between(200, 300))
    }
    const unfinished = [...crowd.jobs.values()].filter(({ finishedAt }) => finishedAt === undefined)
    expect(unfinished.length).toBeGreaterThan(500)
    expect(percentile(waits(crowd, probes), 0.99)).toBeLessThanOrEqual(250)
  })

  it('all come to their end, and every slot works until then', () => {
    const crowd = new Crowd(MESH)
    let workMs = 0
    for (let i = 0; i < 1_000; i += 1) {
      const itemMs = crowd.prng.between(5, 50)
      workMs += 2 * itemMs
      crowd.submit(crowd.nodes[0]!, 2, itemMs)
    }
    const idealMs = workMs / (MESH.peers * MESH.slots)
    crowd.runUntil(idealMs * 1.15 + 500)
    const left = [...crowd.jobs.values()].filter(({ finishedAt }) => finishedAt === undefined)
    expect(left.length).toBe(0)
  })
})

describe('who gets the slots', () => {
  it('a higher priority comes first, always: no slot goes to a lower one while it waits here', () => {
    const crowd = new Crowd(MESH)
    const inverted: string[] = []
    crowd.onStart = ({ at, node, job }) => {
      for (const other of crowd.jobs.values()) {
        if (other.priority <= job.priority) continue
        const mine = node.scheduler.job(other.id)?.mine ?? 0
        if (mine > 0) inverted.push(`${at} ms: ${job.priority} before ${other.priority}`)
      }
    }
    for (let i = 0; i < 60; i += 1) {
      const priority = crowd.prng.int(10)
      crowd.submit(crowd.nodes[i % MESH.peers]!, 40, crowd.prng.between(5, 50), { priority })
      crowd.runUntil(crowd.clock.now + 20)
    }
    crowd.runUntil(60_000)
    expect(inverted).toEqual([])
    expect([...crowd.jobs.values()].every(({ finishedAt }) => finishedAt !== undefined)).toBe(true)
  })

  it('an idle peer takes what has a higher priority before what it has itself', () => {
    const crowd = new Crowd({ ...MESH, peers: 2, slots: 1 })
    const [one, two] = crowd.nodes
    const low = crowd.submit(two!, 400, 20, { priority: 1 })
    crowd.runUntil(1_000)
    const high = crowd.submit(one!, 200, 20, { priority: 8 })
    crowd.runUntil(1_000 + (200 * 20) / 2 + 400)
    expect(high.finishedAt).toBeDefined()
    expect(low.finishedAt).toBeUndefined()
  })

  it('submitters share alike, however many jobs each has', () => {
    const crowd = new Crowd({ ...MESH, peers: 2 })
    const [one, two] = crowd.nodes
    const many = Array.from({ length: 50 }, () => crowd.submit(one!, 1_000, 20))
    const single = crowd.submit(two!, 50_000, 20)
    crowd.runUntil(20_000)
    const spent = many.reduce((sum, { spentMs }) => sum + spentMs, 0)
    expect(single.spentMs / (spent + single.spentMs)).toBeGreaterThan(0.4)
    expect(single.spentMs / (spent + single.spentMs)).toBeLessThan(0.6)
  })

  it('two long jobs of one submitter share, whenever they came', () => {
    const crowd = new Crowd({ ...MESH, peers: 1 })
    const node = crowd.nodes[0]!
    const first = crowd.submit(node, 1_000_000, 20)
    crowd.runUntil(300_000)
    const second = crowd.submit(node, 1_000_000, 20)
    const before = first.spentMs
    crowd.runUntil(900_000)
    const share = second.spentMs / (second.spentMs + first.spentMs - before)
    expect(share).toBeGreaterThan(0.4)
    expect(share).toBeLessThan(0.75)
  })

  it('a long job goes on under a stream of short ones', () => {
    const crowd = new Crowd({ ...MESH, peers: 1 })
    const node = crowd.nodes[0]!
    const long = crowd.submit(node, 1_000, 50)
    for (let at = 0; at < 20_000; at += 25) {
      crowd.submit(node, 1, 45)
      crowd.runUntil(at)
    }
    expect(long.spentMs).toBeGreaterThan(0.15 * 20_000)
  })
})

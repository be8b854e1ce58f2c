import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { PeerId } from '../../../src/scheduler/types.ts'
import { JOB, peerId, SmallMesh } from './small-mesh.ts'

const [A, B, C, D] = [peerId(0), peerId(1), peerId(2), peerId(3)] as const

function mesh(...args: ConstructorParameters<typeof SmallMesh>): SmallMesh {
  const made = new SmallMesh(...args)
  onTestFinished(() => made.close())
  return made
}

describe('copies', () => {
  it('nothing is done while every result is on as many live peers as it should be', async () => {
    const m = mesh(4)
    for (let i = 0; i < 20; i += 1) await m.result([A, B])
    await m.look()
    expect(m.offersMade()).toBe(0)
  })

  it('a lost keeper is replaced, once, with the log of the job', async () => {
    const m = mesh(4)
    const hashes = []
    for (let i = 0; i < 30; i += 1) hashes.push(await m.result([A, B]))
    m.kill(B)
    await m.look()
    for (const hash of hashes) expect(await m.holders(hash)).toHaveLength(2)
    expect(m.offersMade()).toBe(30)
    const { sent } = m.members.get(A)!
    expect(sent.length).toBeGreaterThan(0)
    expect(new Set(sent.map(([to, job]) => to + job)).size).toBe(sent.length)
    // It knows what it did, though the log does not say so.
    await m.look()
    expect(m.offersMade()).toBe(30)
  })

  it('what is of no use any more is neither copied nor given up', async () => {
    const m = mesh(4, { times: { lostAfterMs: 1, lostRankMs: 0 } })
    const [used, needed, gone] = [
      await m.result([A, B]),
      await m.result([A, B]),
      await m.result([B]),
    ]
    m.neededFrom = 10
    m.kill(B)
    m.now += 100_000
    await m.look()
    expect(await m.holders(used)).toHaveLength(1)
    expect(await m.holders(needed)).toHaveLength(2)
    const lost = [...m.members.values()].flatMap(({ dispatched }) => dispatched)
    expect(lost).toContainEqual(expect.objectContaining({ type: 'resultLost', lo: 20 }))
    expect(await m.holders(gone)).toEqual([])
    m.neededFrom = 30
    for (const { dispatched } of m.members.values()) dispatched.length = 0
    await m.look()
    expect([...m.members.values()].flatMap(({ dispatched }) => dispatched)).toEqual([])
  })

  it('of several holders one acts; the next one only when it did not', async () => {
    const m = mesh(4, { replicas: 3 })
    const hash = await m.result([A, B, C])
    m.kill(C)
    await m.look()
    expect(m.offersMade()).toBe(1)
    expect(await m.holders(hash)).toHaveLength(3)
  })

  it('the next holder acts a look later, when the first did not', async () => {
    const looksUntilCopied = async (actor: PeerId): Promise<number> => {
      const m = mesh(4, { replicas: 3 })
      const hash = await m.result([A, B, C])
      m.kill(C)
      for (let looks = 1; looks <= 3; looks += 1) {
        await m.members.get(actor)!.keepers.look()
        if ((await m.holders(hash)).length === 3) return looks
      }
      return Number.POSITIVE_INFINITY
    }
    const looks = [await looksUntilCopied(A), await looksUntilCopied(B)]
    expect(looks.sort()).toEqual([1, 2])
  })

  it('a full disk is passed over', async () => {
    const m = mesh(4)
    const hash = await m.result([A, B])
    m.full.add(C)
    m.kill(B)
    await m.look()
    expect(await m.holders(hash)).toEqual([A, D])
  })

  it('with nobody to give it to it waits for a newcomer', async () => {
    const m = mesh(2)
    await m.result([A, B])
    m.kill(B)
    await m.look()
    expect(m.members.get(A)!.keepers.undercopied).toBe(1)
  })

  it('any holder repairs, named in the log or not, whatever dies one by one', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 4, max: 7 }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.nat(6), { minLength: 1, maxLength: 5 }),
        async (peers, replicas, deaths) => {
          const m = new SmallMesh(peers, { replicas })
          try {
            const keepers = Array.from({ length: replicas }, (_, i) => peerId(i))
            const hashes = [await m.result(keepers), await m.result(keepers.toReversed())]
            for (const death of deaths) {
              const live = peers - m.dead.size
              if (live <= Math.max(2, replicas)) break
              const victim = peerId(death % peers)
              if (m.dead.has(victim) || replicas === 1) continue
              m.kill(victim)
              await m.look()
              await m.look()
              for (const hash of hashes) {
                expect((await m.holders(hash)).length).toBeGreaterThanOrEqual(replicas)
              }
            }
          } finally {
            m.close()
          }
        },
      ),
      { numRuns: 60 },
    )
  })

  it('of a finished job too, but never LOST', async () => {
    const m = mesh(4)
    m.running = false
    const hash = await m.result([A, B])
    const gone = await m.result([B])
    m.kill(B)
    m.now += 1e9
    await m.look()
    expect(await m.holders(hash)).toHaveLength(2)
    expect(await m.holders(gone)).toEqual([])
    for (const { dispatched } of m.members.values()) expect(dispatched).toEqual([])
  })
})

describe('LOST', () => {
  const lostEvents = (m: SmallMesh) =>
    [...m.members.values()].flatMap(({ dispatched }) => dispatched)

  it('is declared by one peer, after a minute, when nobody has it', async () => {
    const m = mesh(4)
    await m.result([A, B])
    m.kill(A)
    m.kill(B)
    m.now += 59_000
    await m.look()
    expect(lostEvents(m)).toEqual([])
    m.now += 2_000
    await m.look()
    const [span] = m.spans
    expect(lostEvents(m)).toEqual([
      { type: 'resultLost', job: JOB, lo: 0, hi: 10, done: span!.hash },
    ])
  })

  it('not when a peer that the log does not name has a copy: it is found and copied on', async () => {
    const m = mesh(5)
    const hash = await m.result([A, B])
    await m.members.get(D)!.blobs.put(await m.members.get(A)!.blobs.get(hash))
    m.kill(A)
    m.kill(B)
    m.now += 120_000
    await m.look()
    expect(lostEvents(m)).toEqual([])
    expect((await m.holders(hash)).length).toBeGreaterThanOrEqual(2)
  })

  it('a side that sees less than half of the job waits ten times longer', async () => {
    const m = mesh(5)
    await m.result([A, B])
    for (const peer of [A, B, C]) m.kill(peer)
    m.now += 200_000
    await m.look()
    expect(lostEvents(m)).toEqual([])
    m.now += 401_000
    await m.look()
    expect(lostEvents(m)).toHaveLength(1)
  })

  it('keepers that live and have lost their blobs say so themselves', async () => {
    const m = mesh(3)
    const hash = await m.result([A, B])
    for (const peer of [A, B]) await m.members.get(peer)!.blobs.delete(hash)
    await m.look()
    expect(lostEvents(m)).toEqual([])
    m.now += 61_000
    await m.look()
    const events = lostEvents(m)
    expect(events.length).toBeGreaterThanOrEqual(1)
    expect(events[0]).toMatchObject({ type: 'resultLost', lo: 0, hi: 10 })
  })

  it('a keeper whose blob is gone fetches it again', async () => {
    const m = mesh(3)
    const hash = await m.result([A, B])
    await m.members.get(A)!.blobs.delete(hash)
    await m.look()
    expect(await m.holders(hash)).toEqual([A, B])
  })
})

describe('a peer that leaves', () => {
  it('hands on what only it has, and tells how much is left', async () => {
    const m = mesh(3)
    const shared = await m.result([A, B])
    const own = [await m.result([A]), await m.result([A])]
    const told: { bytesLeft: number; bytesTotal: number }[] = []
    const end = await m.members.get(A)!.keepers.handOn((progress) => told.push({ ...progress }))
    expect(end.bytesLeft).toBe(0)
    expect(end.bytesTotal).toBe(24)
    expect(told.map(({ bytesLeft }) => bytesLeft)).toEqual([24, 12, 0])
    m.kill(A)
    for (const hash of [...own, shared]) expect(await m.holders(hash)).toHaveLength(1)
  })

  it('with nobody there it goes at once; where nobody takes it, it says what is left', async () => {
    const alone = mesh(1)
    await alone.result([A])
    expect(await alone.members.get(A)!.keepers.handOn(() => undefined)).toEqual({
      bytesLeft: 0,
      bytesTotal: 0,
    })
    const m = mesh(2)
    await m.result([A])
    m.full.add(B)
    expect((await m.members.get(A)!.keepers.handOn(() => undefined)).bytesLeft).toBe(11)
  })

  it('only of the jobs that are asked for', async () => {
    const m = mesh(2)
    await m.result([A])
    const none = await m.members.get(A)!.keepers.handOn(() => undefined, new Set())
    expect(none.bytesTotal).toBe(0)
  })
})

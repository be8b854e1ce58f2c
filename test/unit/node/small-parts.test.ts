import { describe, expect, it, vi } from 'vitest'
import { MeshError } from '../../../src/base/errors.ts'
import { silentLogger } from '../../../src/base/logger.ts'
import { Custody } from '../../../src/node/custody.ts'
import { MissingInputs } from '../../../src/node/input-loss.ts'
import type { Inputs } from '../../../src/node/inputs.ts'
import { JobFinder } from '../../../src/node/job-finder.ts'
import { Presence } from '../../../src/node/presence.ts'
import { RetentionBook } from '../../../src/node/retention-book.ts'
import type { WireMessage } from '../../../src/node/wire/messages.ts'
import { WorkPool } from '../../../src/node/work-pool.ts'
import type { JobId, JobView, Liveness, PeerId } from '../../../src/scheduler/types.ts'
import { JOB, peerId } from './small-mesh.ts'

const [A, B, C, D] = [peerId(0), peerId(1), peerId(2), peerId(3)] as const

describe('presence', () => {
  function rig() {
    const states = new Map<PeerId, Liveness>()
    const connected: PeerId[] = []
    const views: Partial<JobView>[] = []
    let now = 1_000
    const presence = new Presence({
      self: A,
      scheduler: {
        liveness: (peer) => states.get(peer) ?? { state: 'unknown', silentMs: 0 },
        jobs: () => views as JobView[],
        job: (id) => views.find(({ job }) => job === id) as JobView | undefined,
      },
      connected: () => connected,
      hasLeft: () => false,
      name: (peer) => `peer-${peer.slice(0, 2)}`,
      now: () => now,
    })
    return { presence, states, connected, views, tick: (ms: number) => (now += ms) }
  }

  it('knows who lives, and since when others are away', () => {
    const { presence, states, connected, tick } = rig()
    states.set(B, { state: 'live', silentMs: 500 })
    states.set(C, { state: 'lost', silentMs: 12_000 })
    connected.push(B, C, D)
    tick(30_000)
    expect(presence.reachable()).toEqual([B, D])
    expect([A, B, C, D].map((peer) => presence.awayMs(peer))).toEqual([0, 0, 12_000, 0])
    connected.pop()
    expect(presence.live(D)).toBe(false)
    expect([presence.awayMs(D), presence.everSeen(D)]).toEqual([30_000, false])
  })

  it('knows when it sees less than half of a job', () => {
    const { presence, states, views } = rig()
    expect(presence.inMinority(JOB)).toBe(false)
    const doneBy = new Map([B, C, D].map((peer) => [peer, 1]))
    views.push({ job: JOB, author: A, state: 'running', doneBy })
    states.set(B, { state: 'live', silentMs: 0 })
    expect(presence.inMinority(JOB)).toBe(false)
    states.set(B, { state: 'lost', silentMs: 0 })
    expect(presence.inMinority(JOB)).toBe(true)
  })

  it('notes a loss in the running jobs that the peer had a part in, the last ones only', () => {
    const { presence, views } = rig()
    views.push(
      { job: JOB, state: 'running', orphaned: 70, doneBy: new Map() },
      { job: 'ee'.repeat(32) as JobId, state: 'running', orphaned: 0, doneBy: new Map() },
      { job: 'ff'.repeat(32) as JobId, state: 'finished', orphaned: 0, doneBy: new Map([[B, 1]]) },
    )
    const effect = { type: 'leaseEnded', peer: B, session: '1'.repeat(32), restarted: false }
    presence.leaseEnded(effect as Parameters<Presence['leaseEnded']>[0])
    expect(presence.losses(JOB)).toEqual([
      { id: B, name: 'peer-01', items: 70, at: expect.any(String), restarted: false },
    ])
    expect(presence.losses('ee'.repeat(32) as JobId)).toEqual([])
    expect(presence.losses('ff'.repeat(32) as JobId)).toEqual([])
    for (let i = 0; i < 100; i += 1) {
      presence.leaseEnded(effect as Parameters<Presence['leaseEnded']>[0])
    }
    expect(presence.losses(JOB)).toHaveLength(32)
  })
})

describe('missing input', () => {
  const lost = new MeshError('ERR_MESH_INPUT_LOST', 'nobody has it', { details: { hash: 'x' } })

  function rig() {
    const state = { now: 0, authorLives: false, others: [C] as PeerId[], few: false }
    const missing = new MissingInputs({
      self: A,
      presence: {
        live: () => state.authorLives,
        reachable: () => state.others,
        inMinority: () => state.few,
      },
      times: { inputLostAfterMs: 60_000, inputLostAloneMs: 600_000 },
      now: () => state.now,
    })
    return { missing, state, note: (author = B) => missing.note(JOB, author, lost) }
  }

  it('is given up after a minute without its author and without a holder', () => {
    const { state, note } = rig()
    expect(note()).toBe(false)
    state.now = 59_999
    expect(note()).toBe(false)
    state.now = 60_000
    expect(note()).toBe(true)
  })

  it('not while the author lives, and from anew when it goes again', () => {
    const { state, note } = rig()
    note()
    state.now = 50_000
    state.authorLives = true
    expect(note()).toBe(false)
    state.authorLives = false
    state.now = 100_000
    expect(note()).toBe(false)
    state.now = 159_999
    expect(note()).toBe(false)
    state.now = 160_000
    expect(note()).toBe(true)
  })

  it('is given up though its author lives, when that is there and has it not, or is this peer', () => {
    for (const author of [A, C]) {
      const { state, note } = rig()
      state.authorLives = true
      if (author === A) state.others = []
      expect(note(author)).toBe(false)
      state.now = 60_000
      expect(note(author)).toBe(true)
    }
  })

  it.each(['nobody', 'few of the job'])('later by a peer that sees %s', (who) => {
    const { state, note } = rig()
    if (who === 'nobody') state.others = []
    else state.few = true
    note()
    state.now = 599_999
    expect(note()).toBe(false)
    state.now = 600_000
    expect(note()).toBe(true)
  })

  it('is tried less and less often, and at once again when all was found', () => {
    const { missing, note } = rig()
    const waits = Array.from({ length: 6 }, () => {
      note()
      return missing.retryMs(JOB)
    })
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 8_000, 8_000])
    missing.found(JOB)
    note()
    expect(missing.retryMs(JOB)).toBe(1_000)
  })
})

describe('custody of input', () => {
  function rig(self: PeerId, peers: PeerId[], keeps: (peer: PeerId) => boolean = () => true) {
    const fetched: string[] = []
    const state = { now: 0, job: 'running' as JobView['state'], failing: false }
    const view = () => ({ job: JOB, author: A, state: state.job, spec: {} }) as JobView
    const custody = new Custody({
      self,
      scheduler: { jobs: () => [view()], job: () => view() },
      inputs: { blobsOf: async () => ['1', '2', '3'] } as unknown as Inputs,
      exchange: {
        ensure: async (hash) => {
          if (state.failing && hash === '2') throw new Error('not now')
          fetched.push(hash)
        },
      },
      presence: { reachable: () => peers.filter((peer) => peer !== self) },
      keeps,
      times: { custodyAfterMs: 1_500, custodyEveryMs: 1e9 },
      now: () => state.now,
      log: silentLogger,
    })
    return { custody, fetched, state }
  }

  it('exactly two peers beside the author fetch all of it, once the job runs for a moment', async () => {
    const peers = Array.from({ length: 6 }, (_, i) => peerId(i))
    const rigs = peers.map((peer) => rig(peer, peers))
    for (const { custody } of rigs) await custody.look()
    for (const { fetched } of rigs) expect(fetched).toEqual([])
    for (const { state, custody } of rigs) {
      state.now = 1_500
      await custody.look()
      await custody.look()
    }
    const holders = peers.filter((_, i) => rigs[i]!.fetched.length > 0)
    expect(holders).toHaveLength(2)
    expect(holders).not.toContain(A)
    for (const { fetched, custody } of rigs) {
      if (fetched.length === 0) continue
      expect(fetched).toEqual(['1', '2', '3'])
      expect(custody.has(JOB)).toBe(true)
    }
  })

  it('when one of them goes, the next one takes its place', async () => {
    const all = Array.from({ length: 5 }, (_, i) => peerId(i))
    const holding = async (peers: PeerId[]) => {
      const holders: PeerId[] = []
      for (const peer of peers) {
        const { custody, fetched, state } = rig(peer, peers)
        await custody.look()
        state.now = 2_000
        await custody.look()
        if (fetched.length > 0) holders.push(peer)
      }
      return holders
    }
    const [first, second] = await holding(all)
    const after = await holding(all.filter((peer) => peer !== first))
    expect(after).toHaveLength(2)
    expect(after).toContain(second)
  })

  it('a peer that has no room or only submits is passed over; what failed is tried again', async () => {
    const keeps = (peer: PeerId) => peer !== B
    const { custody, fetched, state } = rig(B, [A, B, C], keeps)
    await custody.look()
    state.now = 2_000
    await custody.look()
    expect(fetched).toEqual([])
    const other = rig(C, [A, B, C], keeps)
    await other.custody.look()
    other.state.now = 2_000
    other.state.failing = true
    await other.custody.look()
    expect(other.custody.has(JOB)).toBe(false)
    other.state.failing = false
    await other.custody.look()
    expect(other.custody.has(JOB)).toBe(true)
  })

  it('stops when the job ends', async () => {
    const { custody, fetched, state } = rig(B, [A, B])
    await custody.look()
    state.now = 2_000
    state.job = 'finished'
    await custody.look()
    expect(fetched).toEqual([])
  })
})

describe('finding jobs', () => {
  const ids = ['ab12', 'ab13', 'cd'].map((start) => start.padEnd(64, '0') as JobId)

  /** Finders that send to each other; `mute` ones never answer. */
  function rig(known: readonly JobId[][], mute: readonly number[] = []) {
    const finders: JobFinder[] = []
    known.forEach((jobs, me) => {
      finders.push(
        new JobFinder({
          connected: () => known.flatMap((_, i) => (i === me ? [] : [peerId(i)])),
          send: (to: PeerId, message: WireMessage) => {
            const index = Number.parseInt(to.slice(0, 2), 16)
            if (message.kind !== 'findJobs' && message.kind !== 'foundJobs') return false
            if (!mute.includes(index)) finders[index]!.receive(peerId(me), message)
            return true
          },
          knownLike: async (prefix) => jobs.filter((job) => job.startsWith(prefix)),
          ofNonce: async () => [],
          timeoutMs: 20,
        }),
      )
    })
    return finders
  }

  it('gathers what connected peers know', async () => {
    const [me] = rig([[], [ids[0]!], [ids[1]!, ids[2]!]])
    expect(await me!.find('ab1')).toEqual([ids[0], ids[1]])
    expect(await me!.find('cd00')).toEqual([ids[2]])
    expect(await me!.find('ffff')).toEqual([])
  })

  it('does not wait for ever for a peer that is silent, nor at all for one that goes', async () => {
    const [me] = rig([[], [ids[0]!], []], [2])
    expect(await me!.find('ab12')).toEqual([ids[0]])
    vi.useFakeTimers()
    try {
      const [other] = rig([[], []], [1])
      const found = other!.find('ab12')
      other!.peerGone(peerId(1))
      expect(await found).toEqual([])
    } finally {
      vi.useRealTimers()
    }
  })

  it('finds jobs by their nonce, whatever their ids are', async () => {
    const nonce = '5e'.repeat(16)
    const me = new JobFinder({
      connected: () => [peerId(1)],
      send: (_, message) => {
        expect(message).toEqual({ kind: 'findNonce', id: 1, nonce })
        const jobs = [ids[2]!, ids[0]!]
        queueMicrotask(() => me.receive(peerId(1), { kind: 'foundJobs', id: 1, jobs }))
        return true
      },
      knownLike: async () => [],
      ofNonce: async () => [],
    })
    expect(await me.findNonce(nonce)).toEqual([ids[0], ids[2]])
  })

  it('takes no answer that was not asked for', async () => {
    const [me] = rig([[], []], [1])
    const found = me!.find('ab12')
    me!.receive(peerId(5), { kind: 'foundJobs', id: 1, jobs: [ids[0]!] })
    me!.receive(peerId(1), { kind: 'foundJobs', id: 1, jobs: [ids[2]!] })
    me!.receive(peerId(1), { kind: 'foundJobs', id: 1, jobs: [ids[0]!] })
    expect(await found).toEqual([])
  })
})

describe('the book of retention', () => {
  it('survives a restart, and garbage', async () => {
    const meta = new Map<string, Uint8Array>()
    const store = {
      getMeta: async (key: string) => meta.get(key),
      putMeta: async (key: string, value: Uint8Array) => void meta.set(key, value),
    }
    const book = new RetentionBook(store)
    book.age([JOB], () => 1_500)
    book.age([JOB], () => 500)
    await book.save()
    await book.noteCollected(['ee'.repeat(32) as JobId], 42)
    const again = new RetentionBook(store)
    await again.load()
    expect(again.ageOf(JOB)).toBe(2_000)
    expect(again.collectedAt('ee'.repeat(32) as JobId)).toBe(42)
    for (const key of meta.keys()) meta.set(key, Buffer.alloc(57, 0xff))
    const broken = new RetentionBook(store)
    await broken.load()
    expect(broken.ageOf(JOB)).toBe(0)
  })
})

describe('a pool of work', () => {
  it('runs so many at a time, and nothing more after an abort', async () => {
    const over = new AbortController()
    const pool = new WorkPool(2, over.signal)
    let running = 0
    let most = 0
    let done = 0
    const work = async (): Promise<void> => {
      running += 1
      most = Math.max(most, running)
      await new Promise((resolve) => setImmediate(resolve))
      running -= 1
      done += 1
      if (done === 3) throw new Error('its own business')
    }
    for (let i = 0; i < 9; i += 1) await pool.add(work)
    await pool.idle()
    expect([most, done]).toEqual([2, 9])
    over.abort()
    await pool.add(work)
    expect(done).toBe(9)
  })
})

import { describe, expect, it, vi } from 'vitest'
import { silentLogger } from '../../../src/base/logger.ts'
import { type KeepRules, Retention } from '../../../src/node/retention.ts'
import { DEFAULT_TIMES } from '../../../src/node/upkeep-times.ts'
import type { BlobHash, EntryHash, JobId, JobSpec } from '../../../src/scheduler/types.ts'
import { createMemoryStore } from '../../../src/store/memory-store.ts'
import type { Store } from '../../../src/store/types.ts'
import { peerOf, recordOf, specOf } from '../store/writers.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const author = peerOf('author')

class Rig {
  now = 0
  wall = 1_800_000_000_000
  short = false
  readonly running = new Set<JobId>()
  readonly ages = new Map<BlobHash, number>()
  readonly inputs = new Map<string, BlobHash[]>()
  readonly letGo: JobId[] = []
  readonly store: Store
  retention: Retention
  private readonly keep: KeepRules

  constructor(keep: KeepRules = {}, store?: Store) {
    this.keep = keep
    this.store = store ?? createMemoryStore({ self: author.peer, sign: author.sign })
    this.retention = this.make()
  }

  /** The same store under a new process, whose monotonic clock starts anew. */
  async restart(): Promise<void> {
    await this.retention.close()
    this.now = 1e12
    this.retention = this.make()
    await this.retention.start()
  }

  async job(
    name: string,
    options: { state?: 'running' | 'finished'; bytes?: number; ttl?: number } = {},
  ) {
    const { state = 'finished', bytes = 100, ttl } = options
    const made = specOf(name)
    const spec = ttl === undefined ? made : { ...made, options: { resultTtlMs: ttl } }
    const record = recordOf(spec, author.peer, state)
    this.store.stageJob(record)
    const { hash, sizeBytes } = await this.store.blobs.put(Buffer.alloc(bytes, name))
    this.ages.set(hash, 7 * HOUR)
    this.store.stageView({
      job: record.job,
      ownersRemoved: [],
      ownersPut: [],
      doneRemoved: [],
      donePut: [
        {
          lo: 0,
          hi: 10,
          originLo: 0,
          hash: '1'.repeat(64) as EntryHash,
          author: author.peer,
          failed: 0,
          result: { kind: 'blob', hash, sizeBytes, keepers: [author.peer] },
        },
      ],
    })
    await this.store.flush()
    return { job: record.job, spec, hash }
  }

  async blob(text: string, ageMs: number): Promise<BlobHash> {
    const { hash } = await this.store.blobs.put(Buffer.from(text))
    this.ages.set(hash, ageMs)
    return hash
  }

  pass(ms: number) {
    this.now += ms
    return this.retention.tick()
  }

  jobs = async () => (await this.store.jobs()).map(({ job }) => job).sort()

  private make(): Retention {
    const { store, ages } = this
    const blobs = {
      ...store.blobs,
      async *list() {
        for await (const blob of store.blobs.list()) {
          yield { ...blob, ageMs: ages.get(blob.hash) ?? 0 }
        }
      },
    }
    return new Retention({
      store: Object.create(store, { blobs: { value: blobs } }) as Store,
      keep: this.keep,
      diskBytes: () => undefined,
      diskShort: () => this.short,
      isRunning: (job) => this.running.has(job),
      inputsOf: async (spec: JobSpec) => this.inputs.get(spec.nonce) ?? [spec.task.bundle],
      letGo: (job) => this.letGo.push(job),
      drop: (hash) => store.blobs.delete(hash),
      times: { ...DEFAULT_TIMES, retentionEveryMs: 1e9 },
      now: () => this.now,
      wallClock: () => this.wall,
      log: silentLogger,
    })
  }
}

describe('retention', () => {
  it('collects a finished job after its time, with a tombstone and its time of collection', async () => {
    const rig = new Rig()
    const { job, hash } = await rig.job('old')
    await rig.pass(7 * DAY - 1)
    expect(await rig.jobs()).toEqual([job])
    const pass = await rig.pass(1)
    expect(pass?.collected).toEqual([job])
    expect(await rig.jobs()).toEqual([])
    expect(rig.store.isCollected(job)).toBe(true)
    expect(rig.letGo).toEqual([job])
    expect(rig.retention.book.collectedAt(job)).toBe(rig.wall)
    expect(rig.retention.book.collectedLike(job.slice(0, 6))).toEqual([job])
    // Its blob goes in the second sweep that finds it unreferenced.
    expect(await rig.store.blobs.has(hash)).toBe(true)
    expect((await rig.pass(HOUR))?.sweptBytes).toBe(100)
    expect(await rig.store.blobs.has(hash)).toBe(false)
  })

  it('counts the time that this peer runs, over restarts, whatever the wall clock says', async () => {
    const rig = new Rig({ ms: 10 * HOUR })
    await rig.retention.start()
    const { job } = await rig.job('restarted')
    await rig.pass(6 * HOUR)
    await rig.restart()
    rig.wall += 365 * DAY
    await rig.pass(3 * HOUR)
    expect(await rig.jobs()).toEqual([job])
    rig.wall -= 3650 * DAY
    await rig.pass(HOUR)
    expect(await rig.jobs()).toEqual([])
    await rig.retention.close()
  })

  it('never collects what runs, also when it was over before', async () => {
    const rig = new Rig({ ms: HOUR })
    const open = await rig.job('open', { state: 'running' })
    const reopened = await rig.job('reopened')
    rig.running.add(reopened.job)
    await rig.pass(DAY)
    expect(await rig.jobs()).toEqual([open.job, reopened.job].sort())
    // Its age begins again when it ends again.
    rig.running.clear()
    await rig.pass(1)
    expect(await rig.jobs()).toHaveLength(2)
    await rig.pass(HOUR)
    expect(await rig.jobs()).toEqual([open.job])
  })

  it('above the size the oldest go first, until the rest fits', async () => {
    const rig = new Rig({ bytes: 250 })
    const first = await rig.job('first')
    await rig.pass(1_000)
    const second = await rig.job('second')
    await rig.pass(1_000)
    const third = await rig.job('third')
    const pass = await rig.pass(HOUR)
    expect(pass?.collected).toEqual([first.job])
    expect(await rig.jobs()).toEqual([second.job, third.job].sort())
  })

  it('a job that says how long it is kept is kept so long, in place of the time of this peer', async () => {
    const rig = new Rig({ ms: 10 * HOUR })
    const short = await rig.job('short', { ttl: HOUR })
    const long = await rig.job('long', { ttl: 20 * HOUR })
    const plain = await rig.job('plain')
    await rig.pass(HOUR - 1)
    expect(await rig.jobs()).toHaveLength(3)
    expect(rig.retention.leftMs(short.job, short.spec)).toBe(1)
    await rig.pass(1)
    expect(await rig.jobs()).toEqual([long.job, plain.job].sort())
    await rig.pass(9 * HOUR)
    expect(await rig.jobs()).toEqual([long.job])
    rig.wall += 365 * DAY
    expect(rig.retention.leftMs(long.job, long.spec)).toBe(10 * HOUR)
    await rig.pass(10 * HOUR)
    expect(await rig.jobs()).toEqual([])
    expect(rig.store.isCollected(long.job)).toBe(true)
  })

  it('counts from the end of a job, not from the look before it', async () => {
    const rig = new Rig()
    await rig.pass(0)
    rig.now += 50 * 60_000
    const { job, spec } = await rig.job('late', { ttl: HOUR })
    rig.retention.jobEnded(job, spec)
    expect(rig.retention.leftMs(job, spec)).toBe(HOUR)
    await rig.pass(30 * 60_000)
    expect(rig.retention.leftMs(job, spec)).toBe(HOUR / 2)
    await rig.pass(HOUR / 2 - 1)
    expect(await rig.jobs()).toEqual([job])
    await rig.pass(1)
    expect(await rig.jobs()).toEqual([])
    await rig.retention.close()
  })

  it('wakes for a job that goes before the next look', async () => {
    vi.useFakeTimers()
    try {
      const rig = new Rig()
      await rig.retention.start()
      const { job, spec } = await rig.job('soon', { ttl: 2_000 })
      rig.retention.jobEnded(job, spec)
      rig.now += 2_000
      await vi.advanceTimersByTimeAsync(1_999)
      expect(rig.letGo).toEqual([])
      await vi.advanceTimersByTimeAsync(1)
      await vi.waitFor(() => expect(rig.letGo).toEqual([job]))
      await rig.retention.close()
    } finally {
      vi.useRealTimers()
    }
  })

  it('its tombstone outlives what others may keep of it tenfold, over restarts', async () => {
    const rig = new Rig({ ms: 0 })
    await rig.retention.start()
    const { job } = await rig.job('kept', { ttl: 5 * DAY })
    await rig.pass(5 * DAY)
    expect(rig.store.isCollected(job)).toBe(true)
    await rig.restart()
    await rig.pass(50 * DAY - 1)
    expect(rig.store.isCollected(job)).toBe(true)
    await rig.pass(1)
    expect(rig.store.isCollected(job)).toBe(false)
    await rig.retention.close()
  })

  it('keeps nothing with a time of 0', async () => {
    const rig = new Rig({ ms: 0 })
    await rig.job('gone')
    await rig.pass(1)
    expect(await rig.jobs()).toEqual([])
  })

  it('forgets what is asked for at once, and nothing when one of them runs', async () => {
    const rig = new Rig()
    const a = await rig.job('a')
    const b = await rig.job('b', { state: 'running' })
    rig.running.add(b.job)
    await expect(rig.retention.forget([a.job, b.job])).rejects.toMatchObject({
      code: 'ERR_MESH_JOB_RUNNING',
    })
    expect(await rig.jobs()).toHaveLength(2)
    await rig.retention.forget([a.job])
    expect(await rig.jobs()).toEqual([b.job])
    expect(rig.store.isCollected(a.job)).toBe(true)
  })
})

describe('the sweep', () => {
  it('takes what no job names, in two sweeps in a row, and what is old enough', async () => {
    const rig = new Rig()
    const { hash } = await rig.job('kept')
    const stray = await rig.blob('stray', 7 * HOUR)
    const young = await rig.blob('young', HOUR)
    await rig.pass(HOUR)
    expect(await rig.store.blobs.has(stray)).toBe(true)
    await rig.pass(HOUR)
    expect(await rig.store.blobs.has(stray)).toBe(false)
    expect(await rig.store.blobs.has(young)).toBe(true)
    expect(await rig.store.blobs.has(hash)).toBe(true)
    rig.ages.set(young, 7 * HOUR)
    await rig.pass(HOUR)
    expect(await rig.store.blobs.has(young)).toBe(false)
  })

  it('keeps bundle, manifest and pieces of jobs, running or not', async () => {
    const rig = new Rig()
    const { spec } = await rig.job('pieces', { state: 'running' })
    const piece = await rig.blob('piece', DAY)
    rig.inputs.set(spec.nonce, [piece])
    for (let i = 0; i < 3; i += 1) await rig.pass(HOUR)
    expect(await rig.store.blobs.has(piece)).toBe(true)
  })

  it('never takes what a submit is writing, until a job names it', async () => {
    const rig = new Rig()
    const blob = await rig.blob('spooled', 30 * DAY)
    rig.retention.pin(blob)
    for (let i = 0; i < 4; i += 1) await rig.pass(HOUR)
    expect(await rig.store.blobs.has(blob)).toBe(true)
    rig.retention.unpin([blob])
    await rig.pass(HOUR)
    await rig.pass(HOUR)
    expect(await rig.store.blobs.has(blob)).toBe(false)
  })

  it('takes nothing after the store was repaired, but when the disk is short', async () => {
    const store = createMemoryStore({ self: author.peer, sign: author.sign })
    const rig = new Rig({}, Object.create(store, { repair: { value: {} } }) as Store)
    const stray = await rig.blob('stray', 7 * HOUR)
    for (let i = 0; i < 4; i += 1) await rig.pass(HOUR)
    expect(await rig.store.blobs.has(stray)).toBe(true)
    rig.short = true
    for (let i = 0; i < 2; i += 1) await rig.pass(HOUR)
    expect(await rig.store.blobs.has(stray)).toBe(false)
  })

  it('what somebody wants meanwhile is spared', async () => {
    const rig = new Rig()
    const blob = await rig.blob('wanted', DAY)
    await rig.pass(HOUR)
    rig.retention.touch(blob)
    await rig.pass(HOUR)
    expect(await rig.store.blobs.has(blob)).toBe(true)
    await rig.pass(HOUR)
    expect(await rig.store.blobs.has(blob)).toBe(false)
  })

  it('with a short disk it comes at once and takes younger ones; results that are kept stay', async () => {
    const rig = new Rig()
    const { job, hash } = await rig.job('kept')
    const young = await rig.blob('young', 20 * 60_000)
    const fresh = await rig.blob('fresh', 60_000)
    rig.short = true
    await rig.pass(1)
    await rig.pass(1)
    expect(await rig.store.blobs.has(young)).toBe(false)
    expect(await rig.store.blobs.has(fresh)).toBe(true)
    expect(await rig.store.blobs.has(hash)).toBe(true)
    expect(await rig.jobs()).toEqual([job])
  })
})

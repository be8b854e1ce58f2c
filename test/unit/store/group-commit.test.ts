import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { diskFull, isDiskFull } from '../../../src/store/fs-errors.ts'
import { GroupCommit } from '../../../src/store/group-commit.ts'
import type { Change } from '../../../src/store/key-value.ts'
import { MAX_STALL_RETRY_MS, SYNC_AFTER_MS } from '../../../src/store/limits.ts'

interface Write {
  readonly names: string[]
  readonly sync: boolean
  readonly end: (error?: Error) => void
}

/** A commit over a database whose writes end when the test says so. */
function setUp() {
  let staged: Change[] = []
  const writes: Write[] = []
  let written = 0
  const commit = new GroupCommit({
    kv: {
      write: (changes, sync) =>
        new Promise((resolve, reject) => {
          const names = changes.map((change) => change.key.toString())
          writes.push({ names, sync, end: (error) => (error ? reject(error) : resolve()) })
        }),
    },
    take: () => staged.splice(0),
    written: () => void written++,
    syncMark: () => ({ key: Buffer.from('mark') }),
  })
  return {
    commit,
    writes,
    written: () => written,
    stage: (name: string) => {
      staged = [...staged, { key: Buffer.from(name) }]
      commit.touch()
    },
    /** Ends the write that is under way. */
    end: async (error?: Error) => {
      await vi.advanceTimersByTimeAsync(0)
      writes.at(-1)!.end(error)
      await vi.advanceTimersByTimeAsync(0)
    },
  }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('group commit', () => {
  it('writes what one tick staged in one batch, and what came meanwhile in the next', async () => {
    const { commit, writes, stage, end, written } = setUp()
    stage('a')
    const first = commit.flush()
    stage('b')
    const second = commit.flush()
    await vi.advanceTimersByTimeAsync(0)
    expect(writes.map((write) => write.names)).toEqual([['a', 'b']])
    stage('c')
    const third = commit.flush({ sync: true })
    stage('d')
    await end()
    await Promise.all([first, second])
    expect(written()).toBe(1)
    expect(writes.map(({ names, sync }) => [names, sync])).toEqual([
      [['a', 'b'], false],
      [['c', 'd'], true],
    ])
    await end()
    await third
    expect(written()).toBe(2)
  })

  it('syncs what was written within the promised time, once', async () => {
    const { commit, writes, stage, end } = setUp()
    stage('a')
    const flushed = commit.flush()
    await end()
    await flushed
    expect(SYNC_AFTER_MS).toBeLessThan(20)
    await vi.advanceTimersByTimeAsync(SYNC_AFTER_MS)
    expect(writes[1]).toMatchObject({ names: ['mark'], sync: true })
    await end()
    await vi.advanceTimersByTimeAsync(1000)
    expect(writes).toHaveLength(2)
  })

  it('writes and syncs what nobody flushes', async () => {
    const { writes, stage, end } = setUp()
    stage('a')
    await vi.advanceTimersByTimeAsync(SYNC_AFTER_MS - 1)
    expect(writes).toHaveLength(0)
    await vi.advanceTimersByTimeAsync(1)
    expect(writes[0]).toMatchObject({ names: ['a'], sync: true })
    await end()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('has nothing to do when nothing was staged', async () => {
    const { commit, writes } = setUp()
    await commit.flush()
    await commit.flush({ sync: true })
    await commit.close()
    expect(writes).toHaveLength(0)
  })

  it('stops at the first write that fails, and says why to everyone', async () => {
    const { commit, writes, stage, end } = setUp()
    const error = diskFull('/data', new Error('no space'))
    stage('a')
    const first = commit.flush()
    await vi.advanceTimersByTimeAsync(0)
    stage('b')
    const outcomes = Promise.allSettled([first, commit.flush()])
    await end(error)
    const failed = { status: 'rejected', reason: error }
    expect(await outcomes).toEqual([failed, failed])
    expect(() => stage('c')).toThrowError(error)
    await expect(commit.flush()).rejects.toBe(error)
    await expect(commit.close()).rejects.toBe(error)
    expect(writes).toHaveLength(1)
    expect(vi.getTimerCount()).toBe(0)
  })
})

/** A commit over a database on a disk that is full for as long as the test says so. */
function setUpFull() {
  let staged: Change[] = []
  const log: string[] = []
  const stalls: (string | undefined)[] = []
  let full: 'no' | 'writes' | 'sync' = 'no'
  let torn = false
  const error = diskFull('/data', new Error('no space'))
  const commit = new GroupCommit({
    kv: {
      write: async (changes) => {
        const names = changes.map((change) => change.key.toString()).join('+')
        if (torn) throw new Error('written to before it was mended')
        if (full !== 'no') {
          torn = true
          log.push(`refused ${names}`)
          throw error
        }
        log.push(`wrote ${names}`)
      },
      sync: async () => {
        if (full === 'no') return
        torn = true
        throw error
      },
      recover: async () => {
        if (full !== 'no') throw error
        torn = false
        log.push('mended')
      },
    },
    take: () => staged.splice(0),
    written: () => void log.push('in step'),
    syncMark: () => ({ key: Buffer.from('mark') }),
    onStall: (each) => void stalls.push(each?.code),
  })
  return {
    commit,
    log,
    stalls,
    error,
    setFull: (how: typeof full) => {
      full = how
    },
    stage: (name: string) => {
      staged = [...staged, { key: Buffer.from(name) }]
      commit.touch()
    },
  }
}

describe('a full disk', () => {
  it('is waited for; the same batch is written again, then what was staged since', async () => {
    const { commit, log, stalls, setFull, stage, error } = setUpFull()
    setFull('writes')
    stage('a')
    const first = commit.flush()
    await vi.advanceTimersByTimeAsync(0)
    stage('b')
    const second = commit.flush()
    await vi.advanceTimersByTimeAsync(60_000)
    expect([log, stalls]).toEqual([['refused a'], ['ERR_MESH_DISK_FULL']])
    expect(commit.stalled).toBe(error)
    await commit.settle()
    setFull('no')
    await vi.advanceTimersByTimeAsync(MAX_STALL_RETRY_MS)
    await Promise.all([first, second])
    expect(log).toEqual(['refused a', 'mended', 'wrote a', 'in step', 'wrote b', 'in step'])
    expect(stalls).toEqual(['ERR_MESH_DISK_FULL', undefined])
    expect(commit.stalled).toBeUndefined()
    await vi.advanceTimersByTimeAsync(1000)
    await commit.close()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('lets a reader go that waited for a write', async () => {
    const { commit, setFull, stage } = setUpFull()
    setFull('writes')
    stage('a')
    await commit.settle()
    expect(commit.stalled).toBeDefined()
    await commit.close().catch(() => {})
  })

  it('met by a sync is mended like one met by a write', async () => {
    const { commit, log, stalls, setFull, stage } = setUpFull()
    stage('a')
    await commit.flush()
    setFull('sync')
    await vi.advanceTimersByTimeAsync(SYNC_AFTER_MS)
    expect(stalls).toEqual(['ERR_MESH_DISK_FULL'])
    setFull('no')
    stage('b')
    const flushed = commit.flush()
    await vi.advanceTimersByTimeAsync(MAX_STALL_RETRY_MS)
    await flushed
    expect(log).toEqual(['wrote a', 'in step', 'mended', 'in step', 'wrote b', 'in step'])
    await commit.close()
  })

  it('met beside the batches is waited for as well', async () => {
    const { commit, stalls, setFull, error } = setUpFull()
    setFull('writes')
    let tries = 0
    const done = commit.retried(async () => {
      if (++tries === 1) throw error
    })
    await vi.advanceTimersByTimeAsync(10_000)
    expect([tries, stalls]).toEqual([1, ['ERR_MESH_DISK_FULL']])
    setFull('no')
    await vi.advanceTimersByTimeAsync(MAX_STALL_RETRY_MS)
    await done
    expect([tries, stalls]).toEqual([2, ['ERR_MESH_DISK_FULL', undefined]])
  })

  it('does not hold up the end; who waits is told', async () => {
    const { commit, setFull, stage, error } = setUpFull()
    setFull('writes')
    stage('a')
    const outcome = Promise.allSettled([commit.flush()])
    await vi.advanceTimersByTimeAsync(0)
    await expect(commit.close()).rejects.toBe(error)
    expect(await outcome).toEqual([{ status: 'rejected', reason: error }])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is known from Node.js and from LevelDB', () => {
    const node = Object.assign(new Error('x'), { code: 'ENOSPC' })
    const cause = new Error('IO error: /d/000003.log: No space left on device')
    expect(isDiskFull(node)).toBe(true)
    expect(isDiskFull(new Error('batch failed', { cause }))).toBe(true)
    expect(isDiskFull(cause)).toBe(true)
    expect(isDiskFull(new Error('IO error: permission denied'))).toBe(false)
    expect(diskFull('/data', node)).toMatchObject({
      code: 'ERR_MESH_DISK_FULL',
      details: { path: '/data' },
    })
  })
})

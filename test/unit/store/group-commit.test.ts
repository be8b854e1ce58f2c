import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { diskFull, isDiskFull } from '../../../src/store/fs-errors.ts'
import { GroupCommit } from '../../../src/store/group-commit.ts'
import type { Change } from '../../../src/store/key-value.ts'
import { SYNC_AFTER_MS } from '../../../src/store/limits.ts'

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

describe('a full disk', () => {
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

import { describe, expect, it } from 'vitest'
import { silentLogger } from '../../../src/base/logger.ts'
import { DiskGuard, type DiskSpace } from '../../../src/node/disk-guard.ts'

const MIB = 1024 * 1024

function rig(space: DiskSpace, minFreeBytes?: number) {
  const disk = { ...space, broken: false }
  const changes: boolean[] = []
  const guard = new DiskGuard({
    dir: '/data',
    minFreeBytes,
    changed: (short) => changes.push(short),
    times: { diskEveryMs: 1e6 },
    log: silentLogger,
    space: async () => {
      if (disk.broken) throw new Error('no such call')
      return { freeBytes: disk.freeBytes, totalBytes: disk.totalBytes }
    },
  })
  return { disk, guard, changes }
}

describe('the disk guard', () => {
  it('reserves 512 MB, or 2 % of a small disk, or what the user says', async () => {
    const large = rig({ freeBytes: 1e12, totalBytes: 2e12 })
    await large.guard.check()
    expect(large.guard.reserveBytes).toBe(512 * MIB)
    const small = rig({ freeBytes: 1e9, totalBytes: 10e9 })
    await small.guard.check()
    expect(small.guard.reserveBytes).toBe(200e6)
    expect(rig({ freeBytes: 1, totalBytes: 1 }, 7).guard.reserveBytes).toBe(7)
  })

  it('says so below the reserve, and again only with a quarter more than that', async () => {
    const { disk, guard, changes } = rig({ freeBytes: 1000, totalBytes: 1e6 }, 1000)
    await guard.check()
    expect([guard.short, guard.warning()]).toEqual([false, undefined])
    disk.freeBytes = 999
    await guard.check()
    expect(guard.short).toBe(true)
    expect(guard.warning()).toMatch(/takes no work/)
    await expect(guard.assertRoom()).rejects.toMatchObject({
      code: 'ERR_MESH_DISK_FULL',
      details: { freeBytes: 999, reserveBytes: 1000 },
    })
    disk.freeBytes = 1249
    await guard.check()
    expect(guard.short).toBe(true)
    disk.freeBytes = 1250
    await guard.check()
    expect(guard.short).toBe(false)
    await guard.assertRoom()
    expect(changes).toEqual([true, false])
  })

  it('refuses what would not leave the reserve', async () => {
    const { guard } = rig({ freeBytes: 1500, totalBytes: 1e6 }, 1000)
    await guard.assertRoom(500)
    await expect(guard.assertRoom(501)).rejects.toMatchObject({ code: 'ERR_MESH_DISK_FULL' })
    expect(guard.short).toBe(false)
  })

  it('believes a write that failed, and a store that waits, more than the free bytes', async () => {
    const vain = rig({ freeBytes: 1e9, totalBytes: 1e10 }, 1000)
    await vain.guard.wroteInVain()
    expect(vain.guard.short).toBe(true)
    const { guard, changes } = rig({ freeBytes: 1e9, totalBytes: 1e10 }, 1000)
    guard.storeStalled(true)
    await guard.check()
    expect(guard.short).toBe(true)
    guard.storeStalled(false)
    await guard.check()
    expect(changes).toEqual([true, false])
  })

  it('a disk that cannot be asked counts as one with room', async () => {
    const { disk, guard } = rig({ freeBytes: 1, totalBytes: 1 }, 1000)
    disk.broken = true
    await guard.assertRoom(1e9)
    expect(guard.space).toBeUndefined()
  })

  it('asks the real disk', async () => {
    const guard = new DiskGuard({
      dir: '.',
      minFreeBytes: undefined,
      changed: () => undefined,
      times: { diskEveryMs: 1e6 },
      log: silentLogger,
    })
    await guard.check()
    expect(guard.space!.totalBytes).toBeGreaterThan(guard.space!.freeBytes)
    expect(guard.space!.freeBytes).toBeGreaterThan(0)
  })
})

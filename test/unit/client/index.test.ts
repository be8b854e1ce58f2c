import { mkdtemp, rm } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { connectMesh, defaultDataDir, joinMesh } from '../../../src/index.ts'
import { controlRig } from '../control/rig.ts'

describe('connectMesh', () => {
  it('attaches to the peer of a folder, and leaves it running', async () => {
    await using rig = await controlRig()
    const mesh = await connectMesh({ dataDir: rig.dataDir })
    expect(await mesh.map((x: number) => x + 1, [1, 2])).toEqual([2, 3])
    await mesh.stop()
    expect(rig.fake.closed).toBe(false)
    expect(await rig.backend.ticket()).toBe('mesh1fake')
  })

  it('says that nobody is there', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'mesh-none-'))
    await expect(connectMesh({ dataDir })).rejects.toMatchObject({
      code: 'ERR_MESH_NO_PEER_RUNNING',
    })
    await rm(dataDir, { recursive: true })
  })

  it('refuses wrong options', async () => {
    await expect(connectMesh({ folder: 'x' } as never)).rejects.toMatchObject({
      code: 'ERR_MESH_OPTION_INVALID',
      message: 'there is no option "folder": there are dataDir',
    })
  })
})

describe('joinMesh', () => {
  it.each([
    ['datadir', 'x', /no option "datadir"/],
    ['dataDir', '', /dataDir must be a string/],
    ['name', 5, /name must be a string/],
    ['mdns', 'no', /mdns must be true or false/],
    ['listen', '/ip4/127.0.0.1/tcp/0', /listen must be a list of multiaddrs/],
    ['logLevel', 'loud', /logLevel must be one of debug/],
    ['keep', '7d', /keep must be an object/],
    ['keep', { days: -1 }, /keep\.days must be from 0/],
    ['keep', { days: 'x' }, /keep\.days must be from 0/],
    ['keep', { bytes: Number.NaN }, /keep\.bytes must be a number/],
    ['keep', { day: 1 }, /keep has no "day"/],
    ['minFree', '1GB', /minFree must be a number of bytes/],
    ['minFree', -1, /minFree must be a number of bytes/],
  ])('refuses %s = %o', async (option, value, message) => {
    await expect(joinMesh({ [option]: value })).rejects.toMatchObject({
      code: 'ERR_MESH_OPTION_INVALID',
      message: expect.stringMatching(message),
      details: { option },
    })
  })
})

describe('the default data folder', () => {
  it('follows the environment', () => {
    expect(defaultDataDir({ MESH_DATA: '/data/mesh', XDG_DATA_HOME: '/xdg' })).toBe('/data/mesh')
    if (process.platform === 'win32') return
    expect(defaultDataDir({ XDG_DATA_HOME: '/xdg' })).toBe('/xdg/meshwork')
    expect(defaultDataDir({ MESH_DATA: '' })).toBe(join(homedir(), '.local/share/meshwork'))
  })
})

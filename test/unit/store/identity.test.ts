import { createPublicKey, verify } from 'node:crypto'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { PeerId } from '../../../src/scheduler/types.ts'
import {
  isSessionOf,
  loadOrCreateIdentity,
  peerIdOf,
  privateKeyOf,
} from '../../../src/store/identity.ts'
import { MAX_KNOWN_ADDRESSES } from '../../../src/store/limits.ts'
import {
  createMeshKey,
  loadMesh,
  meshIdOf,
  removeMesh,
  saveMesh,
} from '../../../src/store/mesh-file.ts'
import { createVerifier } from '../../../src/store/signatures.ts'
import { blobHashOf, peerOf, tempDir } from './fixtures.ts'

describe('identity', () => {
  it('is made once and kept, each start a new session', async () => {
    const dir = join(await tempDir(), 'new')
    const first = await loadOrCreateIdentity(dir)
    const second = await loadOrCreateIdentity(dir)
    expect(second.peer).toBe(first.peer)
    expect(second.seed).toEqual(first.seed)
    expect([first.sessionNumber, second.sessionNumber]).toEqual([1, 2])
    expect(second.session).not.toBe(first.session)
    expect(first.session).toMatch(/^[0-9a-f]{32}$/)
    expect(isSessionOf(first.session, first.peer)).toBe(true)
    expect(isSessionOf(first.session, `00${first.peer.slice(2)}` as PeerId)).toBe(
      first.peer.startsWith('00'),
    )
    expect(first.peer).toMatch(/^[0-9a-f]{64}$/)
    expect(peerIdOf(privateKeyOf(first.seed))).toBe(first.peer)
    expect((await stat(join(dir, 'identity.json'))).mode & 0o777).toBe(0o600)
    expect(await readdir(dir)).toEqual(['identity.json'])
  })

  it('signs what its peer id verifies', async () => {
    const { peer, sign } = await loadOrCreateIdentity(await tempDir())
    const hash = Buffer.from(blobHashOf('x'), 'hex')
    const signature = sign(hash)
    expect(signature).toHaveLength(64)
    const x = Buffer.from(peer, 'hex').toString('base64url')
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
    expect(verify(null, hash, key, signature)).toBe(true)
  })

  it('is the RFC 8032 key pair of its seed', () => {
    const seed = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60'
    const peer = 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'
    expect(peerIdOf(privateKeyOf(Buffer.from(seed, 'hex')))).toBe(peer)
  })

  it.each(['', 'garbage', '{"v":1}', '{"v":1,"seed":"AAAA","sessionNumber":1}', 'null'])(
    'that is damaged (%s) is not replaced in silence',
    async (text) => {
      const dir = await tempDir()
      const path = join(dir, 'identity.json')
      await writeFile(path, text)
      const error = await loadOrCreateIdentity(dir).catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'ERR_MESH_STORE_DAMAGED', details: { path } })
      expect(String(error)).toContain('remove it')
      expect(await readFile(path, 'utf8')).toBe(text)
    },
  )
})

describe('a session number that has no next', () => {
  it('is refused with what to do, and the file is left alone', async () => {
    const dir = await tempDir()
    const path = join(dir, 'identity.json')
    const text = (sessionNumber: number): string =>
      JSON.stringify({ v: 1, seed: Buffer.alloc(32, 7).toString('base64'), sessionNumber })
    await writeFile(path, text(Number.MAX_SAFE_INTEGER - 1))
    expect((await loadOrCreateIdentity(dir)).sessionNumber).toBe(Number.MAX_SAFE_INTEGER)
    const last = await readFile(path, 'utf8')
    await expect(loadOrCreateIdentity(dir)).rejects.toMatchObject({
      code: 'ERR_MESH_STORE_DAMAGED',
      message: expect.stringMatching(/sessionNumber.*remove it/),
    })
    expect(await readFile(path, 'utf8')).toBe(last)
  })
})

describe('a file that cannot be read', () => {
  it.each([
    ['identity.json', loadOrCreateIdentity, 'remove it'],
    ['mesh.json', loadMesh, 'join again'],
  ] as const)('is named, left alone, and it says what to do: %s', async (name, load, advice) => {
    const dir = await tempDir()
    // A folder in its place cannot be read by root either.
    const path = join(dir, name)
    await mkdir(path)
    const error = await load(dir).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_MESH_STORE_DAMAGED', details: { path } })
    expect(String(error)).toContain('cannot be read (EISDIR)')
    expect(String(error)).toContain(advice)
    expect((await stat(path)).isDirectory()).toBe(true)
  })
})

describe('mesh file', () => {
  it('keeps key and addresses', async () => {
    const dir = await tempDir()
    expect(await loadMesh(dir)).toBeUndefined()
    const key = createMeshKey()
    const addresses = ['/ip4/127.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/2']
    const saved = await saveMesh(dir, { key, addresses: [...addresses, addresses[0]!] })
    expect(saved).toEqual({ key, id: meshIdOf(key), addresses })
    expect(await loadMesh(dir)).toEqual(saved)
    expect(saved.id).toMatch(/^[0-9a-f]{16}$/)
    expect((await stat(join(dir, 'mesh.json'))).mode & 0o777).toBe(0o600)
    await removeMesh(dir)
    expect(await loadMesh(dir)).toBeUndefined()
  })

  it('remembers no more than its limit', async () => {
    const dir = await tempDir()
    const addresses = Array.from({ length: 200 }, (_, i) => `/ip4/127.0.0.1/tcp/${i + 1}`)
    await saveMesh(dir, { key: createMeshKey(), addresses })
    expect((await loadMesh(dir))?.addresses).toEqual(addresses.slice(0, MAX_KNOWN_ADDRESSES))
  })

  it.each(['[]', '{"v":1,"key":"AA==","addresses":[]}', '{"v":1,"key":1}'])(
    'that is damaged (%s) says so',
    async (text) => {
      const dir = await tempDir()
      await writeFile(join(dir, 'mesh.json'), text)
      await expect(loadMesh(dir)).rejects.toMatchObject({ code: 'ERR_MESH_STORE_DAMAGED' })
    },
  )
})

describe('signature checks', () => {
  it('hold for many authors with few keys kept', () => {
    const check = createVerifier(3)
    const hash = Buffer.from(blobHashOf('x'), 'hex')
    const peers = Array.from({ length: 8 }, (_, i) => peerOf(`p${i}`))
    for (const who of [...peers, ...peers]) {
      expect(check(who.peer, hash, who.sign(hash))).toBe(true)
      expect(check(peers[0]!.peer, hash, peers[1]!.sign(hash))).toBe(false)
    }
    expect(check('ff'.repeat(32) as never, hash, new Uint8Array(64))).toBe(false)
    expect(check('xyz' as never, hash, new Uint8Array(64))).toBe(false)
  })
})

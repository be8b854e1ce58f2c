import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import { readLock } from '../../../src/store/folder-lock.ts'
import { loadOrCreateIdentity } from '../../../src/store/identity.ts'
import { loadMesh } from '../../../src/store/mesh-file.ts'
import { mutate } from './decoder.ts'
import { Random } from './random.ts'

/** The small files of a data folder: a disk, an editor or a backup may have left anything in them. */
const SEED = Number(process.env.MESH_FUZZ_SEED ?? Date.now() % 1_000_000_000)
const CASES = Math.max(300, 100 * Number(process.env.MESH_FUZZ_SECONDS ?? 0))
const key = Buffer.alloc(32, 7).toString('base64')
const text = (value: unknown): Uint8Array => new Uint8Array(Buffer.from(JSON.stringify(value)))

const FILES = [
  {
    file: 'identity.json',
    samples: [text({ v: 1, seed: key, sessionNumber: 4 })],
    read: loadOrCreateIdentity,
    check: (value: unknown) => expect(value).toMatchObject({ peer: /^[0-9a-f]{64}$/ }),
  },
  {
    file: 'mesh.json',
    samples: [text({ v: 1, key, addresses: ['/ip4/192.0.2.1/tcp/4001', '/ip4/192.0.2.2/tcp/1'] })],
    read: loadMesh,
    check: (value: unknown) => expect(value).toMatchObject({ id: /^[0-9a-f]{16}$/ }),
  },
  {
    file: 'peer.json',
    samples: [
      text({
        pid: process.pid,
        startedAt: 'now',
        role: 'mesh join',
        socket: '/s',
        startTicks: '1',
      }),
    ],
    read: readLock,
    // Nobody's word is no error: it only says who runs on a folder.
    check: (value: unknown) => {
      if (value !== undefined) expect(value).toMatchObject({ alive: expect.any(Boolean) })
    },
  },
] as const

describe.each(FILES)('$file', ({ file, samples, read, check }) => {
  it('with anything in it is read, or refused as damaged', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'mesh-fuzz-'))
    onTestFinished(() => rm(dir, { recursive: true, force: true }))
    let refused = 0
    for (let i = 0; i < CASES; i++) {
      const bytes = mutate('json', samples, new Random(`${SEED} ${file} ${i}`))
      await writeFile(join(dir, file), bytes)
      try {
        check(matchable(await read(dir)))
      } catch (error) {
        const told = `seed ${SEED}, case ${i}: ${Buffer.from(bytes).toString().slice(0, 400)}`
        if (!isMeshError(error, 'ERR_MESH_STORE_DAMAGED')) throw new Error(told, { cause: error })
        refused++
      }
    }
    if (file !== 'peer.json') expect(refused).toBeGreaterThan(CASES / 10)
  })
})

/** toMatchObject compares strings whole; the ids are only looked at. */
function matchable(value: unknown): unknown {
  const { peer, id } = (value ?? {}) as { peer?: unknown; id?: unknown }
  const shown = (name: unknown, size: number) =>
    typeof name === 'string' && new RegExp(`^[0-9a-f]{${size}}$`).test(name)
  if (shown(peer, 64)) return { peer: /^[0-9a-f]{64}$/ }
  return shown(id, 16) ? { id: /^[0-9a-f]{16}$/ } : value
}

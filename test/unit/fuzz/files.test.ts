import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import { readLock } from '../../../src/store/folder-lock.ts'
import { loadOrCreateIdentity } from '../../../src/store/identity.ts'
import { readDueRepair } from '../../../src/store/level-repair.ts'
import { loadMesh } from '../../../src/store/mesh-file.ts'
import { mutate } from './decoder.ts'
import { Random } from './random.ts'
import { SEED } from './seed.ts'

/** The small files of a data folder: a disk, an editor or a backup may have left anything in them. */
const CASES = Math.max(300, 100 * Number(process.env.MESH_FUZZ_SECONDS ?? 0))
const key = Buffer.alloc(32, 7).toString('base64')
const text = (value: unknown): Uint8Array => new Uint8Array(Buffer.from(JSON.stringify(value)))

const isHex = (text: string, size: number) => new RegExp(`^[0-9a-f]{${size}}$`).test(text)

interface SmallFile {
  readonly file: string
  readonly samples: readonly Uint8Array[]
  /** Reads it from its folder, and says whether what was read makes sense. */
  readonly read: (dir: string) => Promise<boolean>
  /** Whether some of the damage is told: of the others nobody's word is no error. */
  readonly tells: boolean
}

const FILES: readonly SmallFile[] = [
  {
    file: 'identity.json',
    samples: [text({ v: 1, seed: key, sessionNumber: 4 })],
    read: async (dir) => {
      const { peer, session, sessionNumber } = await loadOrCreateIdentity(dir)
      return isHex(peer, 64) && isHex(session, 32) && Number.isSafeInteger(sessionNumber)
    },
    tells: true,
  },
  {
    file: 'mesh.json',
    samples: [text({ v: 1, key, addresses: ['/ip4/192.0.2.1/tcp/4001', '/ip4/192.0.2.2/tcp/1'] })],
    read: async (dir) => {
      const mesh = await loadMesh(dir)
      return mesh !== undefined && isHex(mesh.id, 16) && mesh.key.length === 32
    },
    tells: true,
  },
  {
    file: 'peer.json',
    samples: [text({ pid: process.pid, startedAt: 'now', role: 'mesh join', socket: '/s' })],
    read: async (dir) => {
      const owner = await readLock(dir)
      return owner === undefined || (owner.pid > 0 && typeof owner.alive === 'boolean')
    },
    tells: false,
  },
  {
    file: 'db.repair.json',
    samples: [text({ reason: 'damage', indexOnly: true, copy: 'db.damaged-1' })],
    read: async (dir) => typeof (await readDueRepair(dir))?.reason === 'string',
    tells: false,
  },
]

describe.each(FILES)('$file', ({ file, samples, read, tells }) => {
  it('with anything in it is read, or refused as damaged', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'mesh-fuzz-'))
    onTestFinished(() => rm(dir, { recursive: true, force: true }))
    let refused = 0
    for (let i = 0; i < CASES; i++) {
      const bytes = mutate('json', samples, new Random(`${SEED} ${file} ${i}`))
      await writeFile(join(dir, file), bytes)
      const told = `seed ${SEED}, case ${i}: ${Buffer.from(bytes).toString().slice(0, 400)}`
      try {
        expect(await read(dir), told).toBe(true)
      } catch (cause) {
        if (!isMeshError(cause, 'ERR_MESH_STORE_DAMAGED')) throw new Error(told, { cause })
        refused++
      }
    }
    if (tells) expect(refused).toBeGreaterThan(CASES / 10)
    else expect(refused).toBe(0)
  })
})

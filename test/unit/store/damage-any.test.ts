import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import {
  ENTRIES,
  expectConsistent,
  expectRefilled,
  filled,
  openAgain,
  removeTemplate,
} from './damage.ts'

afterAll(removeTemplate)

/** `MESH_DAMAGE_RUNS=500` looks longer. */
const RUNS = Number(process.env.MESH_DAMAGE_RUNS ?? 20)

interface Damage {
  readonly kind: 'delete' | 'cut' | 'flip' | 'zero' | 'garbage'
  /** Which file, and where in it, as shares of what there is. */
  readonly file: number
  readonly at: number
  readonly bytes: Uint8Array
}

const share = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const damage: fc.Arbitrary<Damage> = fc.record({
  kind: fc.constantFrom('delete', 'cut', 'flip', 'zero', 'garbage'),
  file: share,
  at: share,
  bytes: fc.uint8Array({ minLength: 1, maxLength: 200 }),
})

async function apply(dir: string, { kind, file, at, bytes }: Damage): Promise<void> {
  const names = (await readdir(join(dir, 'db'))).filter((name) => !/^LO/.test(name)).sort()
  const name = names[Math.floor(file * names.length)]
  if (name === undefined) return
  const path = join(dir, 'db', name)
  const contents = await readFile(path)
  const place = Math.floor(at * contents.length)
  if (kind === 'delete') return rm(path)
  if (kind === 'cut') return truncate(path, place)
  for (const [i, byte] of bytes.entries()) {
    if (place + i >= contents.length) break
    if (kind === 'flip') contents[place + i]! ^= 1 << (byte % 8)
    else contents[place + i] = kind === 'zero' ? 0 : byte
  }
  return writeFile(path, contents)
}

it(
  'whatever a disk does to the files, the store opens, and what it has is true',
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 3 }), async (damages) => {
        const dir = await filled()
        for (const each of damages) await apply(dir, each)
        let store = await openAgain(dir)
        try {
          await expectConsistent(store)
        } catch (error) {
          // Found when it was read: the next start repairs.
          if (!isMeshError(error, 'ERR_MESH_STORE_DAMAGED')) throw error
          await store.close()
          store = await openAgain(dir)
          expect(store.repair).toBeDefined()
          await expectConsistent(store)
        }
        await expectRefilled(store)
        await store.close()
        store = await openAgain(dir)
        expect(await expectConsistent(store)).toBeLessThanOrEqual(ENTRIES)
        await store.close()
        await rm(dir, { recursive: true })
      }),
      { numRuns: RUNS, endOnFailure: true },
    )
  },
  10_000 * RUNS,
)

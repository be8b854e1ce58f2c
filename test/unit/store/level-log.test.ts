import { hash } from 'node:crypto'
import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { Level } from 'level'
import { describe, expect, it } from 'vitest'
import { crc32c } from '../../../src/store/crc32c.ts'
import { inspectLevel } from '../../../src/store/level-inspect.ts'
import { readLevelLog } from '../../../src/store/level-log.ts'
import { tempDir } from './fixtures.ts'

/** What LevelDB writes for values of these sizes, one batch each; tables are not written. */
async function levelFolder(sizes: readonly number[]): Promise<string> {
  const dir = await tempDir()
  const db = new Level<Buffer, Buffer>(dir, { keyEncoding: 'buffer', valueEncoding: 'buffer' })
  await db.open()
  for (const [i, size] of sizes.entries()) {
    await db
      .batch()
      .put(Buffer.from(`key ${i}`), Buffer.alloc(size, i))
      .write()
  }
  await db.close()
  return dir
}

async function onlyLog(dir: string): Promise<string> {
  return join(dir, (await readdir(dir)).find((name) => name.endsWith('.log'))!)
}

/** Large buffers take vitest long to compare. */
const digests = (records: readonly Buffer[]): string[] =>
  records.map((record) => hash('sha256', record))

// Around the ends of blocks of 32 KiB, and over several of them.
const SIZES = [0, 1, 100, 30_000, 2600, 1, 32_700, 100_000, 7, 65_000, 500]

describe('a LevelDB log', () => {
  it('has the checksums of RFC 3720', () => {
    expect(crc32c(Buffer.from('123456789'), 0, 9)).toBe(0xe3069283)
    expect(crc32c(Buffer.alloc(32), 0, 32)).toBe(0x8a9136aa)
    expect(crc32c(Buffer.alloc(34, 0xff), 1, 33)).toBe(0x62a8ab43)
  })

  it('is read as LevelDB wrote it, batch by batch', async () => {
    const { records, damage } = readLevelLog(
      await readFile(await onlyLog(await levelFolder(SIZES))),
    )
    expect(damage).toBe('none')
    expect(records).toHaveLength(SIZES.length)
    for (const [i, record] of records.entries()) {
      expect(record.subarray(record.length - SIZES[i]!).equals(Buffer.alloc(SIZES[i]!, i))).toBe(
        true,
      )
    }
  })

  it('that was cut off anywhere lost its tail, and nothing before', async () => {
    const bytes = await readFile(await onlyLog(await levelFolder(SIZES)))
    const whole = digests(readLevelLog(bytes).records)
    fc.assert(
      fc.property(fc.nat(bytes.length), (end) => {
        const { records, damage } = readLevelLog(bytes.subarray(0, end))
        expect(damage).not.toBe('middle')
        expect(digests(records)).toEqual(whole.slice(0, records.length))
        // A file system may have grown the file before it had the data.
        const grown = Buffer.concat([bytes.subarray(0, end), Buffer.alloc(70_000)])
        const again = readLevelLog(grown)
        expect(again.damage).toBe('tail')
        expect(digests(again.records)).toEqual(digests(records))
      }),
    )
  })

  it('that was changed anywhere but at its end lost its middle', async () => {
    const bytes = await readFile(await onlyLog(await levelFolder(SIZES)))
    const whole = digests(readLevelLog(bytes).records)
    fc.assert(
      fc.property(fc.nat(bytes.length - 600), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = Buffer.from(bytes)
        changed[at]! ^= change
        // The last bytes of a block too small for a record are not looked at.
        const { damage, records } = readLevelLog(changed)
        if (damage === 'none') expect(digests(records)).toEqual(whole)
        else expect(damage).toBe('middle')
      }),
    )
  })

  it('may hold anything', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const { records } = readLevelLog(Buffer.from(bytes))
        expect(records.length).toBeLessThanOrEqual(bytes.length)
      }),
    )
  })
})

describe('a LevelDB folder', () => {
  it('that nobody opened is empty', async () => {
    expect(await inspectLevel(await tempDir())).toEqual({ state: 'empty' })
  })

  it('is whole after its log lost its tail, and damaged when more is missing', async () => {
    const dir = await levelFolder(SIZES)
    expect(await inspectLevel(dir)).toEqual({ state: 'whole' })
    const log = await onlyLog(dir)
    await truncate(log, 1000)
    expect(await inspectLevel(dir)).toEqual({ state: 'whole' })
    await rm(log)
    expect(await inspectLevel(dir)).toMatchObject({
      reason: expect.stringMatching(/log \d+ is missing/),
    })
  })

  it('of small size is read whole, a large one when asked to', async () => {
    const dir = await levelFolder(SIZES)
    const db = new Level<Buffer, Buffer>(dir, { keyEncoding: 'buffer', valueEncoding: 'buffer' })
    await db.open()
    await db.close()
    const table = join(dir, (await readdir(dir)).find((name) => name.endsWith('.ldb'))!)
    const bytes = await readFile(table)
    bytes[100]! ^= 1
    await writeFile(table, bytes)
    expect(await inspectLevel(dir, bytes.length)).toMatchObject({
      reason: expect.stringMatching(/table \d+ was changed/),
      indexOnly: false,
    })
    expect(await inspectLevel(dir, bytes.length - 1)).toEqual({ state: 'whole' })
  })

  it('with a manifest of anything is damaged', async () => {
    const dir = await levelFolder([1])
    const manifest = join(dir, (await readdir(dir)).find((name) => name.startsWith('MANIFEST'))!)
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        await writeFile(manifest, bytes)
        expect(await inspectLevel(dir)).toMatchObject({ state: 'damaged', indexOnly: true })
      }),
    )
  })
})

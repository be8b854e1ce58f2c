import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { Level } from 'level'
import { describe, expect, it } from 'vitest'
import { readLevelLog, salvageLog } from '../../../src/store/level-log.ts'
import { isWholeTable, readBatch, salvageTable } from '../../../src/store/level-table.ts'
import { unsnap } from '../../../src/store/snappy.ts'
import { tempDir } from './fixtures.ts'

const key = (i: number): string => `a key of some length ${String(i).padStart(5, '0')}`

/** What stands where: values that compress well, hardly, not at all; empty ones and large ones. */
function valuesOf(count: number): Map<string, Buffer> {
  const values = new Map<string, Buffer>()
  for (let i = 0; i < count; i++) {
    const kinds = [
      Buffer.alloc(200, i),
      randomBytes(150),
      Buffer.alloc(0),
      Buffer.from(`${i} and some text, and some text, and ${i} some more of the same text`),
      ...(i % 200 === 4 ? [randomBytes(70_000), Buffer.alloc(90_000, i)] : []),
    ]
    values.set(key(i), kinds[i % kinds.length]!)
  }
  return values
}

async function filesOf(values: ReadonlyMap<string, Buffer>, tables: boolean): Promise<Buffer[]> {
  const dir = await tempDir()
  const db = new Level<Buffer, Buffer>(dir, { keyEncoding: 'buffer', valueEncoding: 'buffer' })
  await db.open()
  for (const [name, value] of values) {
    await db
      .batch()
      .del(Buffer.from(`gone ${name}`))
      .put(Buffer.from(name), value)
      .write()
  }
  if (tables) {
    const { compactRange } = db as unknown as {
      compactRange(start: Buffer, end: Buffer): Promise<void>
    }
    await compactRange.call(db, Buffer.alloc(0), Buffer.of(0xff))
  }
  await db.close()
  const names = (await readdir(dir)).filter((name) => name.endsWith(tables ? '.ldb' : '.log'))
  return Promise.all(names.map((name) => readFile(join(dir, name))))
}

const text = (row: readonly [Buffer, Buffer]): string =>
  `${row[0].toString()}=${row[1].toString('hex')}`

describe('a LevelDB table', () => {
  it('is whole as it was written, and holds all that was written', async () => {
    const values = valuesOf(3000)
    const tables = await filesOf(values, true)
    expect(tables).not.toHaveLength(0)
    const found: string[] = []
    for (const table of tables) {
      expect(isWholeTable(table)).toBe(true)
      found.push(...[...salvageTable(table)].map(text))
    }
    const written = Array.from(values, ([name, value]) => text([Buffer.from(name), value]))
    expect(found.sort()).toEqual(written.sort())
  })

  it('is not whole when any of its bytes was changed, and gives nothing that was not written', async () => {
    const [table] = await filesOf(valuesOf(300), true)
    const written = new Set([...salvageTable(table!)].map(text))
    let salvaged = 0
    fc.assert(
      fc.property(
        fc.nat(table!.length - 1),
        fc.integer({ min: 1, max: 255 }),
        fc.boolean(),
        (at, change, cut) => {
          const changed = cut ? table!.subarray(0, at) : Buffer.from(table!)
          if (!cut) changed[at]! ^= change
          // Between the handles of the footer and its mark there are unused bytes.
          const unused = !cut && at >= table!.length - 48 && at < table!.length - 8
          if (!unused) expect(isWholeTable(changed)).toBe(false)
          for (const row of salvageTable(changed)) {
            expect(written.has(text(row))).toBe(true)
            salvaged++
          }
        },
      ),
    )
    expect(salvaged).toBeGreaterThan(0)
  })

  it('may be anything', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(isWholeTable(Buffer.from(bytes))).toBe(false)
        expect([...salvageTable(Buffer.from(bytes))]).toEqual([])
      }),
    )
  })
})

describe('a damaged LevelDB log', () => {
  it('gives all batches but those that were hit', async () => {
    const values = valuesOf(400)
    const [log] = await filesOf(values, false)
    const whole = readLevelLog(log!).records
    const at = whole.map((record) => log!.indexOf(record.subarray(0, 40)))
    for (const hit of [[0], [7], [100, 200], [100, 101, 102]]) {
      const changed = Buffer.from(log!)
      for (const i of hit) changed[at[i]! + 20]! ^= 1
      const left = whole.filter((_, i) => !hit.includes(i))
      const found = salvageLog(changed)
      // What lies behind a bad record in its block is found again at the next one at the latest.
      expect(found.length).toBeGreaterThan(left.length - 100)
      const known = new Set(left.map((record) => record.toString('hex')))
      for (const record of found) expect(known.has(record.toString('hex'))).toBe(true)
    }
  })

  it('says what its batches change', async () => {
    const values = valuesOf(20)
    const [log] = await filesOf(values, false)
    const batches = readLevelLog(log!).records.map((record) => readBatch(record)!)
    for (const [i, [name, value]] of [...values].entries()) {
      const [removed, put, ...more] = batches[i]!
      expect(removed).toEqual({ key: Buffer.from(`gone ${name}`) })
      expect([put!.key.toString(), Buffer.from(put!.value!).equals(value)]).toEqual([name, true])
      expect(more).toEqual([])
    }
  })
})

describe('snappy', () => {
  it('fails in one way on anything', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          unsnap(Buffer.from(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

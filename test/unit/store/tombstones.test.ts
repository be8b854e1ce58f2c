import { expect, it } from 'vitest'
import type { JobId } from '../../../src/scheduler/types.ts'
import type { Change } from '../../../src/store/key-value.ts'
import { jobOfKey, PREFIX } from '../../../src/store/keys.ts'
import { AGE_KEY, Tombstones } from '../../../src/store/tombstones.ts'
import { hex } from './fixtures.ts'

const jobs = Array.from({ length: 6 }, (_, i) => hex(`job ${i}`) as JobId)

/** A database of tombstones alone. */
function database() {
  const rows = new Map<string, { key: Buffer; value: Buffer }>()
  return {
    apply: (changes: readonly Change[]): void => {
      for (const { key, value } of changes) {
        if (value === undefined) rows.delete(key.toString('hex'))
        else rows.set(key.toString('hex'), { key, value: Buffer.from(value) })
      }
    },
    open: (max?: number): Tombstones => {
      const stones = [...rows.values()].filter(({ key }) => key[0] === PREFIX.tombstone)
      const opened = new Tombstones(max)
      opened.load(
        rows.get(AGE_KEY.toString('hex'))?.value,
        stones.map(({ key, value }) => [jobOfKey(key), value] as const),
      )
      return opened
    },
    forgetAge: () => void rows.delete(AGE_KEY.toString('hex')),
  }
}

it('forgets the oldest above the limit, also over a restart', () => {
  const db = database()
  let stones = db.open(3)
  for (const job of jobs.slice(0, 4)) {
    db.apply(stones.add(job))
    db.apply(stones.age(10, 1000))
  }
  expect([...stones.jobs]).toEqual(jobs.slice(1, 4))
  stones = db.open(3)
  expect([...stones.jobs]).toEqual(jobs.slice(1, 4))
  db.apply(stones.add(jobs[4]!))
  expect([...db.open(3).jobs]).toEqual(jobs.slice(2, 5))
})

it('counts the time of all runs together', () => {
  const db = database()
  db.apply(db.open().add(jobs[0]!))
  for (let run = 0; run < 9; run++) db.apply(db.open().age(100, 1000))
  expect(db.open().has(jobs[0]!)).toBe(true)
  const last = db.open()
  db.apply(last.age(100, 1000))
  expect(last.has(jobs[0]!)).toBe(false)
  expect(db.open().has(jobs[0]!)).toBe(false)
})

it('keeps tombstones whose count of time was lost', () => {
  const db = database()
  const stones = db.open()
  db.apply(stones.add(jobs[0]!))
  db.apply(stones.age(700, 1000))
  db.apply(stones.add(jobs[1]!))
  db.forgetAge()
  const again = db.open()
  expect([...again.jobs]).toEqual(jobs.slice(0, 2))
  db.apply(again.age(300, 1000))
  expect([...again.jobs]).toEqual([jobs[1]])
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { claimsOf } from '../../../src/scheduler/rules.ts'
import { type Entry, type EntryHash, ZERO_HASH } from '../../../src/scheduler/types.ts'
import { JOB } from './builders.ts'
import { type MeshOptions, SmallMesh } from './small-mesh.ts'

const base = {
  seed: fc.nat(1e9).map(String),
  peers: fc.integer({ min: 2, max: 4 }),
  items: fc.integer({ min: 1, max: 400 }),
  itemMs: fc.constantFrom(1, 7, 50, 400),
}
const quiet = fc.record({ ...base, options: fc.constant({ speculate: false }) })
const faulty = fc.record({
  ...base,
  options: fc.constantFrom({}, { speculate: false }, { chunkSize: 7 }, { replicas: 1 }),
  losesTail: fc.boolean(),
  slow: fc.constantFrom(undefined, undefined, 'a', 'b'),
})

const fault = fc.record({
  waitMs: fc.oneof(fc.nat(50), fc.nat(2_000), fc.nat(15_000)),
  kind: fc.constantFrom('crash', 'crash', 'restart', 'cut', 'heal', 'pause', 'leave', 'lose'),
  who: fc.nat(3),
  other: fc.nat(3),
  ms: fc.oneof(fc.nat(2_000), fc.nat(40_000)),
} as const)
/** MESH_FUZZ_SECONDS is for long runs: so many more cases. */
const MORE = Math.max(1, Number(process.env.MESH_FUZZ_SECONDS ?? 0))
const faults = fc.array(fault, { maxLength: 8 })
type Fault = typeof fault extends fc.Arbitrary<infer T> ? T : never

function inject(mesh: SmallMesh, { waitMs, kind, who, other, ms }: Fault): void {
  mesh.pass(waitMs)
  const one = mesh.machines[who % mesh.machines.length]!
  const two = mesh.machines[other % mesh.machines.length]!
  if (kind === 'crash') mesh.crash(one)
  else if (kind === 'restart') mesh.restart(one)
  else if (kind === 'leave') mesh.leave(one)
  else if (kind === 'lose') mesh.lose(one)
  else if (kind === 'pause') one.pausedUntil = mesh.now + ms
  else if (one !== two) mesh[kind](one, two)
}

/** A job among faults; then the links are mended, every machine comes up again, and time passes. */
function run(options: MeshOptions, list: readonly Fault[], survivors = options.peers): SmallMesh {
  const mesh = new SmallMesh(options)
  mesh.submit()
  for (const each of list) inject(mesh, each)
  // Who leaves, has left.
  mesh.pass(600)
  for (const one of mesh.machines) for (const two of mesh.machines) mesh.heal(one, two)
  mesh.machines.forEach((machine, i) => {
    if (i < survivors) mesh.restart(machine)
    else mesh.crash(machine)
  })
  mesh.pass(1_000)
  let ended = mesh.settle()
  // Another DONE of an item may take the place of a lost one, and be lost as well.
  while (ended && mesh.machines.some((machine) => mesh.findLosses(machine))) ended = mesh.settle()
  expect(mesh.problems).toEqual([])
  expect(ended, 'every item becomes final').toBe(true)
  return mesh
}

/** How many entries (RECLAIM, LOST) say of each item that it shall run again. */
function reopenings(mesh: SmallMesh): number[] {
  const counts = new Array<number>(mesh.options.items).fill(0)
  for (const { body } of mesh.everyEntry()) {
    if (body.type !== 'reclaim' && body.type !== 'lost') continue
    for (const { lo, hi } of body.ranges) for (let i = lo; i < hi; i++) counts[i]! += 1
  }
  return counts
}

describe('a small mesh in virtual time', () => {
  it('I4: with no fault and no speculation every item starts once', () => {
    fc.assert(
      fc.property(quiet, (options) => {
        const mesh = run(options, [])
        expect(mesh.runs).toEqual(mesh.runs.map(() => 1))
        expect(mesh.copies).toEqual(mesh.copies.map(() => 0))
      }),
      { numRuns: 100 * MORE },
    )
  })

  it('I2, I3, I9: through crashes, cuts and pauses nothing done is taken back, nothing leaves before it is written or placed, no feed is reopened', () => {
    fc.assert(
      fc.property(faulty, faults, (options, list) => {
        // Each is watched for where it could be broken: SmallMesh.problems.
        run(options, list)
      }),
      { numRuns: 200 * MORE },
    )
  })

  it('I5: a session runs and grants only what its parent entries gave it', () => {
    fc.assert(
      fc.property(faulty, faults, (options, list) => {
        const mesh = run(options, list)
        const entries = mesh.everyEntry()
        const byHash = new Map<EntryHash, Entry>(entries.map((entry) => [entry.hash, entry]))
        for (const { session, body } of entries) {
          if (body.type !== 'done' && body.type !== 'grant' && body.type !== 'release') continue
          for (const { lo, hi, parent } of body.ranges) {
            if (parent === ZERO_HASH) continue
            const claims = claimsOf(byHash.get(parent)!, options.items).filter(
              (claim) => claim.lo < hi && claim.hi > lo,
            )
            expect(claims.every(({ owner }) => owner === session)).toBe(true)
            const covered = claims.map((it) => Math.min(hi, it.hi) - Math.max(lo, it.lo))
            expect(covered.reduce((sum, size) => sum + size, 0)).toBe(hi - lo)
          }
        }
      }),
      { numRuns: 100 * MORE },
    )
  })

  it('I6: while one peer that has the job lives, and time passes, every item becomes final', () => {
    fc.assert(
      fc.property(faulty, faults, (options, list) => {
        run(options, list, 1)
      }),
      { numRuns: 150 * MORE },
    )
  })

  it('I7: an item runs at most once more than it was reclaimed, copies aside', () => {
    fc.assert(
      fc.property(faulty, faults, (options, list) => {
        const mesh = run(options, list)
        const reopened = reopenings(mesh)
        mesh.runs.forEach((runs, i) => {
          expect(runs).toBeLessThanOrEqual(1 + reopened[i]!)
          expect(runs + mesh.copies[i]!).toBeGreaterThanOrEqual(1)
        })
      }),
      { numRuns: 150 * MORE },
    )
  })

  it('I10: a job is finished when every item is final and its results are on their keepers, on every peer alike', () => {
    fc.assert(
      fc.property(faulty, faults, (options, list) => {
        const mesh = run(options, list)
        const seen = mesh.machines.map(({ scheduler }) => [...scheduler!.doneSpans(JOB)])
        for (const { scheduler } of mesh.machines) {
          expect(scheduler!.job(JOB)).toMatchObject({ state: 'finished', done: options.items })
        }
        let at = 0
        for (const { lo, hi, result } of seen[0]!) {
          expect(lo).toBe(at)
          at = hi
          if (result.kind === 'inline') continue
          for (const keeper of result.keepers) {
            const machine = mesh.machines.find(({ facts }) => facts.peer === keeper)
            expect(machine?.blobs.has(result.hash)).toBe(true)
          }
        }
        expect(at).toBe(options.items)
        // Once everything has been heard by all, all see the same.
        for (const spans of seen) expect(spans.at(-1)?.hi).toBe(options.items)
      }),
      { numRuns: 100 * MORE },
    )
  })
})

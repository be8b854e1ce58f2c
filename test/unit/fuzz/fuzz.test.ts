import { describe, expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import { type Decoder, mutate } from './decoder.ts'
import { decoders } from './decoders.ts'
import { Random } from './random.ts'
import { SEED } from './seed.ts'

/**
 * Every decoder that reads from the network or the disk, against valid, damaged and made-up bytes. What must hold: it returns a
 * value or throws what it says that it throws; it ends; it does not change what anybody reads afterwards; and what it reads of a
 * canonical format is written as the same bytes.
 *
 * MESH_FUZZ_SECONDS=600 runs longer than CI does; MESH_FUZZ_SEED repeats a run; MESH_FUZZ_ONLY picks rows by name.
 */
const SECONDS = Number(process.env.MESH_FUZZ_SECONDS ?? 6)
const ONLY = process.env.MESH_FUZZ_ONLY ?? ''
const chosen = decoders.filter(({ name }) => name.includes(ONLY))
const BUDGET_MS = (SECONDS * 1000) / chosen.length
const SAMPLES = 40
/** A few hundred bytes are read in microseconds; a machine that is busy with other things may stand still for a while. */
const HANG_MS = 5_000

describe.each(chosen)('$name', (decoder: Decoder) => {
  const samples = decoder.samples(SEED, SAMPLES)

  it('reads what was written, and writes what it read', async () => {
    for (const sample of samples) {
      const value = await decoder.read(sample)
      if (decoder.write !== undefined)
        expect(same(decoder.write(value as never), sample)).toBe(true)
    }
  })

  it(
    'returns a value or throws what it declares, whatever the bytes are',
    async () => {
      const canary = await summary(decoder, samples[0]!)
      const end = performance.now() + BUDGET_MS
      let cases = 0
      let read = 0
      for (; performance.now() < end || cases < 50; cases++) {
        const random = new Random(`${SEED} ${decoder.name} ${cases}`)
        const bytes = mutate(decoder.form, samples, random)
        const startedAt = performance.now()
        try {
          read += Number(await survives(decoder, bytes))
        } catch (cause) {
          throw new Error(`seed ${SEED}, case ${cases}: ${String(cause)}`, { cause })
        }
        if (performance.now() - startedAt > HANG_MS) throw fault(bytes, 'it took seconds')
        if (cases % 64 === 0) expect(await summary(decoder, samples[0]!)).toEqual(canary)
      }
      expect(Object.keys(Object.prototype)).toEqual([])
      if (process.env.MESH_FUZZ_SECONDS !== undefined) {
        console.log(`${decoder.name}: ${cases} cases, ${read} of them read`)
      }
    },
    BUDGET_MS + 60_000,
  )
})

async function survives(decoder: Decoder, bytes: Uint8Array): Promise<boolean> {
  const before = Buffer.from(bytes)
  let value: unknown
  try {
    value = await decoder.read(bytes)
  } catch (error) {
    if (decoder.codes.some((code) => isMeshError(error, code))) return false
    throw fault(before, error)
  }
  if (!before.equals(bytes)) throw fault(before, 'it changed its input')
  if (decoder.write === undefined) return true
  let again: Uint8Array
  try {
    again = decoder.write(value as never)
  } catch (error) {
    throw fault(before, error)
  }
  if (!same(again, before)) throw fault(before, `read as other bytes: ${hexOf(again)}`)
  return true
}

async function summary(decoder: Decoder, bytes: Uint8Array): Promise<string> {
  const value = await decoder.read(bytes)
  return JSON.stringify(value, (_key, each: unknown) =>
    typeof each === 'bigint' ? `${each}n` : each,
  )
}

function fault(bytes: Uint8Array, cause: unknown): Error {
  return new Error(`seed ${SEED}; ${bytes.length} bytes: ${hexOf(bytes)}; ${String(cause)}`, {
    cause,
  })
}

/** Enough to see what it is; the seed brings back the rest. */
function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, 160)).toString('hex')
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

import { getHeapStatistics } from 'node:v8'
import { describe, expect, it } from 'vitest'
import { type Decoder, mutate } from './decoder.ts'
import { decoders } from './decoders.ts'
import { Random } from './random.ts'
import { SEED } from './seed.ts'

const MAX_MESSAGE_BYTES = 128
const CASES = 400
/** Headers that announce far more than comes: CBOR, msgpack and plain lengths. */
const BOASTS = [
  '9affffffff',
  '9b001fffffffffffff',
  '5affffffff',
  '7affffffff',
  'bbffffffffffffffff',
  'ddffffffff',
  'dfffffffff',
  'c6ffffffff',
  'dbffffffff',
  'c9ffffffff11',
  'c7ff11',
  'ffffffff',
  '00000050',
  '7fffffff',
].map((hex) => Buffer.from(hex, 'hex'))

/** Bytes in use, JavaScript's and those outside its heap: what is allocated at once shows here before any collection. */
function inUse(): number {
  const { used_heap_size, external_memory, malloced_memory } = getHeapStatistics()
  return used_heap_size + external_memory + malloced_memory
}

/**
 * What reading these bytes reserves, if it may be more than `most`. What the engine does beside it (collecting, compiling) shows
 * as well, now and then; what the bytes ask for shows each time.
 */
async function reserved(decoder: Decoder, bytes: Uint8Array, most: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let tries = 0; tries < 8 && least > most; tries++) {
    const before = inUse()
    try {
      await decoder.read(bytes)
    } catch {
      // fuzz.test.ts looks at what is thrown.
    }
    least = Math.min(least, inUse() - before)
  }
  return least
}

describe.each(decoders)('$name', (decoder: Decoder) => {
  it('a short message reserves no more than its bound', async () => {
    const samples = decoder.samples(SEED, 20)
    let worst = 0
    let by: Uint8Array = new Uint8Array()
    for (let i = 0; i < CASES; i++) {
      const random = new Random(`${SEED} memory ${decoder.name} ${i}`)
      const bytes = boast(decoder, samples, random)
      const grown = await reserved(decoder, bytes, worst)
      if (grown > worst) [worst, by] = [grown, bytes]
    }
    const told = `seed ${SEED}: ${Buffer.from(by).toString('hex')}`
    expect(worst, told).toBeLessThanOrEqual(decoder.maxBytes)
  })
})

function boast(decoder: Decoder, samples: readonly Uint8Array[], random: Random): Uint8Array {
  const bytes = mutate(decoder.form, samples, random).subarray(0, MAX_MESSAGE_BYTES)
  const at = random.int(Math.min(40, bytes.length) + 1)
  const head = random.pick(BOASTS)
  return new Uint8Array(
    Buffer.concat([bytes.subarray(0, at), head, bytes.subarray(at + head.length)]),
  ).slice(0, MAX_MESSAGE_BYTES)
}

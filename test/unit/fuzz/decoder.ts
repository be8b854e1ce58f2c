/** What the tests need to know of a decoder: one row of the tables in decoders-*.ts. */
import * as fc from 'fast-check'
import type { MeshErrorCode } from '../../../src/base/errors.ts'
import { mutateBytes } from './mutate.ts'
import { mutateCbor } from './mutate-cbor.ts'
import { mutateJson } from './mutate-text.ts'
import type { Random } from './random.ts'

/** How its bytes are changed, beside changes that know no format. */
export type Form = 'cbor' | 'json' | 'bytes'

export interface Decoder {
  readonly name: string
  /** The exports that it puts to the test, as `file#name`. */
  readonly covers: readonly string[]
  readonly form: Form
  /** Valid bytes, `count` of them; the same seed gives the same ones. */
  readonly samples: (seed: number, count: number) => Uint8Array[]
  /** The decoder. A promise, an array or a generator's whole output are fine. */
  readonly read: (bytes: Uint8Array) => unknown
  /** What it may throw. */
  readonly codes: readonly MeshErrorCode[]
  /** Writes what was read; the bytes must be the same again (canonical formats). */
  readonly write?: (value: never) => Uint8Array
  /** Bytes that a message of at most 128 bytes may make it reserve. */
  readonly maxBytes: number
}

const KiB = 1024

/** A row for values that an arbitrary makes and `write` encodes. */
export function decoder<T>(row: {
  name: string
  covers: readonly string[]
  form: Form
  values: fc.Arbitrary<T>
  write: (value: T) => Uint8Array
  read: (bytes: Uint8Array) => unknown
  /** Bytes that decode are the bytes that encoding gives; default true. */
  canonical?: boolean
  /** How what was read is written again; default `write`. */
  rewrite?: (value: never) => Uint8Array
  codes?: readonly MeshErrorCode[]
  maxBytes?: number
}): Decoder {
  const { name, covers, form, values, write, read } = row
  const rewrite = row.rewrite ?? (write as (value: never) => Uint8Array)
  return {
    name,
    covers,
    form,
    samples: (seed, count) => fc.sample(values, { seed, numRuns: count }).map(write),
    read,
    codes: row.codes ?? ['ERR_MESH_PROTOCOL'],
    ...(row.canonical === false ? {} : { write: rewrite }),
    maxBytes: row.maxBytes ?? 512 * KiB,
  }
}

/** Text as bytes that keep half a surrogate pair as it is: two bytes a code unit. */
export const utf16 = {
  bytes: (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf16le')),
  text: (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf16le'),
}

/** A hostile version of one of the samples. */
export function mutate(form: Form, samples: readonly Uint8Array[], random: Random): Uint8Array {
  const sample = random.pick(samples)
  if (random.oneIn(16)) return random.bytes(random.int(200))
  const changes = { cbor: mutateCbor, json: mutateJson, bytes: mutateBytes }
  const change = random.oneIn(3) ? mutateBytes : changes[form]
  return change(sample, random, samples)
}

import type { Entry, EntryBody, EntryHash, EntryHeader, Seal } from '../../src/scheduler/types.ts'

/** Two 32-bit lanes over the text (cyrb53's mix). */
function mix(text: string, seed: number): [number, number] {
  let a = 0xdeadbeef ^ seed
  let b = 0x41c6ce57 ^ seed
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i)
    a = Math.imul(a ^ unit, 2654435761)
    b = Math.imul(b ^ unit, 1597334677)
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909)
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909)
  return [a >>> 0, b >>> 0]
}

const hex = (n: number): string => n.toString(16).padStart(8, '0')

/** 64 bits of the text as 64 hex characters: unique enough for a simulation, and much cheaper than SHA-256 of CBOR. */
export function simHash(text: string): string {
  const [a, b] = mix(text, 7)
  return (hex(a) + hex(b)).repeat(4)
}

/** The simulator's seal. */
export const simSeal: Seal = (header: EntryHeader, body: EntryBody): Entry => {
  const { author, session, job, seq, prev } = header
  const hash = simHash(
    `${session}|${job.slice(0, 16)}|${seq}|${prev.slice(0, 16)}|${textOf(body)}`,
  ) as EntryHash
  return { author, session, job, seq, prev, hash, body }
}

/** What a body says, cheaply: values inside a DONE count by their length only. */
function textOf(body: EntryBody): string {
  switch (body.type) {
    case 'done':
      return `d${body.ranges.map(({ lo, hi, parent }) => `${lo},${hi},${parent.slice(0, 16)}`).join(';')}`
    case 'fork':
      return `f${body.first.join()}|${body.second.join()}`
    default:
      return JSON.stringify(body)
  }
}

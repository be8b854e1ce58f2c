import { encode } from 'cborg'
import { protocolError } from './cbor-reader.ts'

/** What the protocol's arrays are made of; cborg writes them in canonical form. */
export type CborValue = number | string | Uint8Array | null | CborValue[]

/** Canonical CBOR. */
export function encodeCbor(value: CborValue): Uint8Array {
  const bytes = encode(value)
  // cborg gives a Buffer or not, by size: one kind for all who compare.
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
}

export function uint(value: number, what: string): number {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw protocolError(`${what} is ${value}, a safe integer >= 0 is needed`)
  }
  return value + 0
}

export function int(value: number, what: string): number {
  if (!Number.isSafeInteger(value)) {
    throw protocolError(`${what} is ${value}, a safe integer is needed`)
  }
  return value + 0
}

/** Bytes of a hex string of exactly `size` bytes. */
export function hexBytes(hex: string, size: number, what: string): Uint8Array {
  const bytes = Buffer.from(hex, 'hex')
  if (hex.length !== size * 2 || bytes.length !== size) {
    throw protocolError(`${what} is not the lower-case hex of ${size} bytes`)
  }
  return bytes
}

export function text(value: string, what: string, maxBytes: number): string {
  // A lone surrogate has no UTF-8: what is written must be what is read.
  const whole = value.toWellFormed()
  if (Buffer.byteLength(whole) > maxBytes) {
    throw protocolError(`${what} has more than ${maxBytes} bytes`)
  }
  return whole
}

import { createHash } from 'node:crypto'
import { defineTask } from 'meshwork'

export interface HashSearchArgs {
  /** What stands before the nonce. */
  readonly prefix?: string
  /** How many leading zero bits the digest must have; at most 32. */
  readonly bits?: number
  /** How many nonces one item tries. */
  readonly block?: number
}

/** Leading zero bits of a digest, looking at its first 32. */
export function leadingZeroBits(digest: Uint8Array): number {
  const head = ((digest[0]! << 24) | (digest[1]! << 16) | (digest[2]! << 8) | digest[3]!) >>> 0
  return Math.clz32(head)
}

/** Item i tries the nonces [i × block, (i + 1) × block) and returns those whose sha256(prefix + nonce) is good enough. */
export default defineTask({
  name: 'hash-search',
  module: import.meta.url,
  run(index: number, ctx): number[] {
    const { prefix = 'meshwork:', bits = 16, block = 1000 } = (ctx.args ?? {}) as HashSearchArgs
    const found: number[] = []
    for (let nonce = index * block; nonce < (index + 1) * block; nonce++) {
      const digest = createHash('sha256').update(`${prefix}${nonce}`).digest()
      if (leadingZeroBits(digest) >= bits) found.push(nonce)
    }
    return found
  },
})

import type { BlobHash } from '../scheduler/types.ts'

const HEX_DIGITS = 12

/**
 * A set of blob hashes by their first 48 bits: a million take some 40 MB less than as strings. It may say `has` of one that is not in
 * it (one in 2^48), never the other way: fit for what must not be deleted.
 */
export class BlobSet {
  private readonly numbers = new Set<number>()

  get size(): number {
    return this.numbers.size
  }

  add(hash: BlobHash): void {
    this.numbers.add(numberOf(hash))
  }

  has(hash: BlobHash): boolean {
    return this.numbers.has(numberOf(hash))
  }

  delete(hash: BlobHash): void {
    this.numbers.delete(numberOf(hash))
  }
}

function numberOf(hash: BlobHash): number {
  return Number.parseInt(hash.slice(0, HEX_DIGITS), 16)
}

/** Uneven CPU work: primes by trial division in blocks whose cost grows, and the process that runs it for the bare-fork figure. */
export interface Block {
  readonly from: number
  readonly to: number
}

export function blocks(count: number, below: number): Block[] {
  const size = Math.ceil(below / count)
  return Array.from({ length: count }, (_, i) => ({
    from: i * size,
    to: Math.min(below, (i + 1) * size),
  }))
}

export function primesBlock({ from, to }: Block): number {
  let count = 0
  for (let n = from; n < to; n += 1) {
    let prime = n > 1
    for (let d = 2; d * d <= n; d += 1) {
      if (n % d === 0) {
        prime = false
        break
      }
    }
    if (prime) count += 1
  }
  return count
}

if (process.send !== undefined && process.argv[1]?.endsWith('uneven.js')) {
  process.on('message', (item: Block) => process.send!(primesBlock(item)))
  process.send('ready')
}

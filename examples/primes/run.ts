// How many primes are below ten million? Ten thousand items, each a block of a thousand numbers.

import { joinFromArguments } from '../lib/join.ts'
import primes from './task.ts'

const LIMIT = 10_000_000
const BLOCK = 1000

const mesh = await joinFromArguments()
try {
  const job = await mesh.submit(primes, { range: [0, LIMIT / BLOCK] }, { args: { block: BLOCK } })
  const counts = await job.collect()
  const total = counts.reduce((sum, count) => sum + count, 0)
  console.log(`${total} primes below ${LIMIT}`)
} finally {
  await mesh.stop()
}

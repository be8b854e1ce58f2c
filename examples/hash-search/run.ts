// Which nonces below half a million give a SHA-256 that starts with 16 zero bits? Results are taken as they come.

import { joinFromArguments } from '../lib/join.ts'
import hashSearch from './task.ts'

const NONCES = 500_000
const BLOCK = 500

const mesh = await joinFromArguments()
try {
  const args = { prefix: 'meshwork:', bits: 16, block: BLOCK }
  const job = await mesh.submit(hashSearch, { range: [0, NONCES / BLOCK] }, { args })
  const found: number[] = []
  for await (const { value } of job) {
    for (const nonce of value) {
      found.push(nonce)
      console.error(`found ${args.prefix}${nonce}`)
    }
  }
  console.log(found.sort((a, b) => a - b).join(' '))
} finally {
  await mesh.stop()
}

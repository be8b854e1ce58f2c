import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type ChaosOptions, runChaos } from './lib/chaos.ts'
import { describeReport } from './lib/report.ts'

/** The long one is `npm run chaos`. */
const SHORT = { workMs: 12_000, faultsMs: 6_000 } as const
const TIMEOUT_MS = 150_000

async function chaos(options: ChaosOptions): Promise<void> {
  const report = await runChaos({ ...SHORT, ...options })
  expect(report.problems, describeReport(report)).toEqual([])
  // A run in which nothing happened proves nothing.
  expect(report.faults.length, describeReport(report)).toBeGreaterThan(0)
}

// Processes are stopped and their children found by /proc.
describe.skipIf(!existsSync('/proc/self/stat'))('five peers and one job, while peers are', () => {
  it('killed and started again, the submitter too', { timeout: TIMEOUT_MS }, async () => {
    await chaos({ seed: 1, kinds: ['kill'], submitterToo: true })
  })

  it('killed, stopped, cut off and told to leave', { timeout: TIMEOUT_MS }, async () => {
    await chaos({ seed: 18, valueBytes: 400 })
  })

  it('cut off by proxies in front of them', { timeout: TIMEOUT_MS }, async () => {
    await chaos({ seed: 8, kinds: ['cut'], network: 'proxies' })
  })
})

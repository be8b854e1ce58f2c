/**
 * Real processes under faults: `npm run chaos -- --seed 1 --seeds 20 --minutes 10`. Each seed is one job over five peers while a
 * schedule of its own kills, stops, cuts and restarts them; a failure prints its seed, its schedule and what replays it, and keeps
 * the peers' logs. docs/failure-handling.md says what must hold.
 */
import { parseArgs } from 'node:util'
import { type ChaosOptions, type ChaosReport, runChaos } from '../test/chaos/lib/chaos.ts'
import { describeReport } from '../test/chaos/lib/report.ts'
import type { FaultKind } from '../test/chaos/lib/schedule.ts'

const USAGE = `Runs a job over real processes while they are killed, stopped, cut off and started again.

  node dist/bench/chaos.js [--seed 1] [--seeds 5] [--minutes 60] [--peers 5] [--work 60] [--faults 40]
                           [--down 2] [--kinds kill,stop,cut,leave] [--network namespaces|proxies]
                           [--submitter spared|too|both] [--bytes 0] [--copies yes|no]

--seeds N runs N seeds from --seed on, or as many as begin within --minutes. --work: CPU seconds of the job.
--faults: seconds within which faults begin. --down: how many peers may be down at once.
--bytes: size of an item's value (0: a number); by default seeds take turns.
--copies: idle peers may copy what is slow elsewhere; by default in one seed of four.`

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '5' },
    minutes: { type: 'string', default: '60' },
    peers: { type: 'string', default: '5' },
    work: { type: 'string', default: '60' },
    faults: { type: 'string', default: '40' },
    down: { type: 'string', default: '2' },
    kinds: { type: 'string' },
    network: { type: 'string' },
    submitter: { type: 'string', default: 'both' },
    bytes: { type: 'string' },
    copies: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

function optionsOf(seed: number): ChaosOptions {
  const bytes = values.bytes === undefined ? (seed % 3 === 0 ? 400 : 0) : Number(values.bytes)
  return {
    seed,
    peers: Number(values.peers),
    workMs: Number(values.work) * 1000,
    faultsMs: Number(values.faults) * 1000,
    maxDown: Number(values.down),
    valueBytes: bytes,
    speculate: values.copies === undefined ? seed % 4 === 0 : values.copies === 'yes',
    submitterToo: values.submitter === 'too' || (values.submitter === 'both' && seed % 2 === 1),
    ...(values.kinds === undefined ? {} : { kinds: values.kinds.split(',') as FaultKind[] }),
    ...(values.network === undefined
      ? {}
      : { network: values.network as 'namespaces' | 'proxies' }),
    log: (line) => console.log(`  ${line}`),
  }
}

async function main(): Promise<void> {
  const first = Number(values.seed)
  const until = Date.now() + Number(values.minutes) * 60_000
  let good = 0
  const failed: ChaosReport[] = []
  for (let seed = first; seed < first + Number(values.seeds); seed += 1) {
    if (Date.now() >= until) break
    console.log(`seed ${seed}`)
    const report = await runChaos(optionsOf(seed))
    console.log(describeReport(report))
    if (report.problems.length === 0) good += 1
    else failed.push(report)
  }
  console.log(`${good} seeds passed, ${failed.length} failed`)
  if (failed.length > 0) {
    console.log(`failed: ${failed.map(({ seed }) => seed).join(', ')}`)
    process.exitCode = 1
  }
}

if (values.help) console.log(USAGE)
else await main()

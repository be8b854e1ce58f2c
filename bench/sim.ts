import { parseArgs } from 'node:util'
import { LOCAL_AREA, WIDE_AREA } from '../test/sim/network.ts'
import { simulate } from '../test/sim/simulate.ts'
import type { CostShape } from '../test/sim/workload.ts'

const USAGE = `Simulates jobs over a mesh in virtual time, with the real scheduler on every peer.

  node dist/bench/sim.js [--peers 100] [--items 1000000] [--seeds 3] [--seed 1] [--ideal 60]
                         [--slots 1] [--shape even|noisy|ramp] [--network wan|lan]

--seeds N runs N seeds from --seed on; a failure names its seed, which replays it.`

const { values } = parseArgs({
  options: {
    peers: { type: 'string', default: '100' },
    items: { type: 'string', default: '1000000' },
    seeds: { type: 'string', default: '3' },
    seed: { type: 'string', default: '1' },
    ideal: { type: 'string', default: '60' },
    slots: { type: 'string', default: '1' },
    shape: { type: 'string', default: 'noisy' },
    network: { type: 'string', default: 'wan' },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) {
  console.log(USAGE)
} else {
  main()
}

function main(): void {
  const first = Number(values.seed)
  const seeds = Number(values.seeds)
  const peers = Number(values.peers)
  const row = (...cells: (string | number)[]): void => {
    console.log(cells.map((cell) => String(cell).padStart(10)).join(''))
  }
  row(
    'seed',
    'x ideal',
    'twice',
    'chunks',
    'entries/c',
    'msgs/c',
    'steals',
    'mean µs',
    'max ms',
    's',
  )
  for (let seed = first; seed < first + seeds; seed += 1) {
    const r = simulate({
      seed,
      peers,
      items: Number(values.items),
      idealSeconds: Number(values.ideal),
      slots: Number(values.slots),
      authorSlots: Number(values.slots),
      shape: values.shape as CostShape,
      faults: values.network === 'lan' ? LOCAL_AREA : WIDE_AREA,
      checkViews: peers <= 30,
    })
    row(
      seed,
      r.ratio.toFixed(3),
      r.ranTwice,
      r.chunks,
      r.entriesPerChunk.toFixed(3),
      r.messagesPerChunk.toFixed(2),
      r.steals,
      (r.handleMeanMs * 1000).toFixed(1),
      r.handleMaxMs.toFixed(1),
      r.wallSeconds.toFixed(1),
    )
    if (process.env.SIM_VERBOSE !== undefined) console.log(r.entries, r.asked, r.lifelines)
    for (const problem of r.problems) console.error(`seed ${seed}: ${problem}`)
    if (r.problems.length > 0 || r.ranTwice > 0) process.exitCode = 1
  }
}

import { parseArgs } from 'node:util'
import { type ActionBug, type Bounds, DEFAULT_BOUNDS, type FoldBug } from './bounds.ts'
import { explore, tell } from './explore.ts'
import { type WalkResult, walk } from './walk.ts'

const USAGE = `Searches every state of a small mesh (any order of deliveries, crashes, restarts, forks) for a broken invariant.

  node dist/bench/search.js [--peers 2] [--items 2] [--seeds 1-2:1,2-3:2] [--grants 1] [--releases 0] [--crashes 1] [--restarts 0]
                            [--suspicions 0] [--forks 0] [--tail kept|undelivered|any] [--loses-received] [--coarse]
                            [--job-everywhere] [--salt text] [--bug name] [--fold-bug name] [--max-states 4000000]
                            [--walks 0] [--seed 1]

--seeds lo-hi:peer,… as in the JOB, which peer 0 writes; the rest is its own. --coarse: only the smallest and the largest chunks, grants
and RECLAIMs. --bug and --fold-bug plant a bug (test/search/bounds.ts names them). --walks N takes N random ways through
bounds too large for a search, instead of all; a failure names its seed.`

const text = { type: 'string' } as const
const flag = { type: 'boolean', default: false } as const
const { values } = parseArgs({
  options: {
    peers: { ...text, default: '2' },
    items: { ...text, default: '2' },
    seeds: { ...text, default: '' },
    grants: { ...text, default: '1' },
    releases: { ...text, default: '0' },
    crashes: { ...text, default: '1' },
    restarts: { ...text, default: '0' },
    suspicions: { ...text, default: '0' },
    forks: { ...text, default: '0' },
    tail: { ...text, default: 'kept' },
    'loses-received': flag,
    coarse: flag,
    'job-everywhere': flag,
    salt: { ...text, default: 'search' },
    bug: { ...text, multiple: true, default: [] },
    'fold-bug': { ...text, multiple: true, default: [] },
    'max-states': { ...text, default: '4000000' },
    walks: { ...text, default: '0' },
    seed: { ...text, default: '1' },
    help: flag,
  },
})

if (values.help) console.log(USAGE)
else main()

function main(): void {
  const seeds = values.seeds.split(',').filter((seed) => seed !== '')
  const bounds: Bounds = {
    ...DEFAULT_BOUNDS,
    peers: Number(values.peers),
    items: Number(values.items),
    seeds: seeds.map((seed) => {
      const [lo, hi, peer] = seed.split(/[-:]/).map(Number)
      return [lo!, hi!, peer!]
    }),
    grants: Number(values.grants),
    releases: Number(values.releases),
    crashes: Number(values.crashes),
    restarts: Number(values.restarts),
    suspicions: Number(values.suspicions),
    forks: Number(values.forks),
    tail: values.tail as 'kept' | 'undelivered' | 'any',
    losesReceived: values['loses-received'],
    everySize: !values.coarse,
    jobEverywhere: values['job-everywhere'],
    salt: values.salt,
    actionBugs: values.bug as ActionBug[],
    foldBugs: values['fold-bug'] as FoldBug[],
    maxStates: Number(values['max-states']),
  }
  if (Number(values.walks) > 0) report(walk(bounds, Number(values.seed), Number(values.walks)))
  else search(bounds)
}

function report({ walks, steps, broken }: WalkResult): void {
  console.log(`${walks} walks, ${steps} steps`)
  if (broken === undefined) return
  console.log(`seed ${broken.seed}: ${tell(broken)}`)
  process.exitCode = 1
}

function search(bounds: Bounds): void {
  const result = explore(bounds)
  const { states, steps, views, entries, truncated, broken, elapsedMs } = result
  console.log(
    `${states} states${truncated ? ' (cut short)' : ''}, ${steps} steps, ${views} sets of entries, ${entries} entries, ${(elapsedMs / 1000).toFixed(1)} s`,
  )
  for (const one of broken.values()) console.log(tell(one))
  if (broken.size === 0) console.log('no invariant is broken')
  process.exitCode = broken.size > 0 || truncated ? 1 : 0
}

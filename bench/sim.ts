import { execFileSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { drawScenario, FAULT_KINDS, type FaultKind } from '../test/sim/chaos.ts'
import { withChurn } from '../test/sim/churn.ts'
import { type Faults, LOCAL_AREA, NO_FAULTS, WIDE_AREA } from '../test/sim/faults.ts'
import { type SimReport, simulate } from '../test/sim/simulate.ts'
import type { CostShape } from '../test/sim/workload.ts'
import type { SimOptions } from '../test/sim/world.ts'

const USAGE = `Simulates jobs over a mesh in virtual time, with the real scheduler on every peer.

  npm run sim -- [--seeds 3] [--seed 1] [--peers 100] [--items 1000000] [--ideal 60] [--slots 1]
                 [--shape even|noisy|ramp] [--network wan|lan] [--lease 10000] [--chunk ITEMS]
                 [--churn PERCENT]      so many of the peers die each minute
                 [--kill-every SECONDS] in turn one is killed and one joins
  npm run sim -- --chaos [--seeds 1000] [--seed 1] [--faults all|none|KIND,KIND…] [--peers N] [--items N]

--item N tells the story of one item of a --chaos run.

--chaos draws small scenarios at random: 2-12 peers, 1-3 000 items, and of the faults
${FAULT_KINDS.join(', ')}.
A failure prints the command that replays it; the exit code is 1.`

const { values } = parseArgs({
  options: {
    peers: { type: 'string' },
    items: { type: 'string' },
    seeds: { type: 'string' },
    seed: { type: 'string', default: '1' },
    ideal: { type: 'string' },
    slots: { type: 'string', default: '1' },
    shape: { type: 'string', default: 'noisy' },
    network: { type: 'string', default: 'wan' },
    lease: { type: 'string' },
    chunk: { type: 'string' },
    churn: { type: 'string' },
    'kill-every': { type: 'string' },
    faults: { type: 'string', default: 'all' },
    chaos: { type: 'boolean', default: false },
    item: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const first = Number(values.seed)
const number = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : Number(text)

/** Drops what is not given, so that it does not hide a default. */
function given(
  options: {
    [K in keyof SimOptions]?: SimOptions[K] | undefined
  },
): Partial<SimOptions> {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as Partial<SimOptions>
}

function kindsOf(text: string): Set<FaultKind> {
  if (text === 'all') return new Set(FAULT_KINDS)
  if (text === 'none') return new Set()
  const known = new Set<string>(FAULT_KINDS)
  const kinds = text.split(',')
  const unknown = kinds.find((kind) => !known.has(kind))
  if (unknown !== undefined) throw new Error(`--faults: no kind ${unknown}`)
  return new Set(kinds as FaultKind[])
}

function chaos(): void {
  const seeds = Number(values.seeds ?? 1_000)
  const kinds = kindsOf(values.faults)
  const { peers, items, item } = values
  const fixed = given({ peers: number(peers), items: number(items), watch: number(item) })
  const started = performance.now()
  let failed = 0
  for (let seed = first; seed < first + seeds; seed += 1) {
    const { options, faults } = drawScenario(seed, kinds, fixed)
    const report = attempt(options, faults)
    if (values.verbose) console.log(JSON.stringify(report, undefined, 1), JSON.stringify(faults))
    if (item !== undefined) console.log(report.story?.join('\n'))
    if (report.problems.length === 0) continue
    failed += 1
    told(report, options, faults, `--chaos --faults ${values.faults}`)
  }
  const seconds = (performance.now() - started) / 1000
  const rate = (seeds / seconds).toFixed(1)
  console.log(`${seeds} seeds, ${failed} failed, ${seconds.toFixed(1)} s, ${rate} seeds/s`)
}

/** A scheduler that throws is a failure like any other. */
function attempt(
  options: Partial<SimOptions>,
  faults: Faults,
): Pick<SimReport, 'seed' | 'problems'> & Partial<SimReport> {
  try {
    return simulate(options, faults)
  } catch (error) {
    return { seed: options.seed ?? 0, problems: [String((error as Error).stack)] }
  }
}

function told(
  { seed, problems }: Pick<SimReport, 'seed' | 'problems'>,
  options: Partial<SimOptions>,
  faults: Faults,
  mode: string,
): void {
  process.exitCode = 1
  const sizes = (['peers', 'items'] as const)
    .filter((name) => values[name] !== undefined)
    .map((name) => ` --${name} ${values[name]}`)
    .join('')
  console.error(`seed ${seed} (${options.peers} peers, ${options.items} items) at ${commit()}:`)
  for (const problem of problems) console.error(`  ${problem}`)
  if (values.verbose) console.error(`  ${JSON.stringify(options)}\n  ${JSON.stringify(faults)}`)
  console.error(`  npm run sim -- ${mode}${sizes} --seed ${seed} --seeds 1`)
}

function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    const changed =
      git('status', '--porcelain', '--', 'src', 'test/sim') === '' ? '' : ' with changes'
    return `commit ${git('rev-parse', '--short', 'HEAD')}${changed}`
  } catch {
    return 'an unknown commit'
  }
}

/** In larger meshes what gossip has told everyone is kept once, for want of memory. */
const SHARED_ABOVE = 256

const COLUMNS: readonly (readonly [string, (r: SimReport) => string])[] = [
  ['seed', (r) => `${r.seed}`],
  ['x ideal', (r) => r.ratio.toFixed(3)],
  ['all ran', (r) => r.ranRatio.toFixed(3)],
  ['effic. %', (r) => (100 / r.ratio).toFixed(1)],
  ['seconds', (r) => r.makespanSeconds.toFixed(1)],
  ['twice %', (r) => ((100 * r.ranTwice) / r.items).toFixed(3)],
  ['wasted %', (r) => (100 * r.wasted).toFixed(2)],
  ['died %', (r) => (100 * r.died).toFixed(2)],
  ['chunks', (r) => `${r.chunks}`],
  ['entries/c', (r) => r.entriesPerChunk.toFixed(3)],
  ['msgs/c', (r) => r.messagesPerChunk.toFixed(1)],
  ['beats/s', (r) => r.heartbeats.toFixed(1)],
  ['verify/s', (r) => r.verified.toFixed(1)],
  ['wall s', (r) => r.wallSeconds.toFixed(1)],
]

function table(): void {
  const seeds = Number(values.seeds ?? 3)
  console.log(COLUMNS.map(([name]) => name.padStart(10)).join(''))
  for (let seed = first; seed < first + seeds; seed += 1) {
    const peers = Number(values.peers ?? 100)
    const slots = Number(values.slots)
    const options = given({
      seed,
      peers,
      items: Number(values.items ?? 1_000_000),
      idealSeconds: Number(values.ideal ?? 60),
      slots,
      authorSlots: slots,
      shape: values.shape as CostShape,
      leaseMs: number(values.lease),
      chunkSize: number(values.chunk),
      checked: false,
      watch: number(values.item),
      tellProgress: false,
      valueBytes: 1,
      shared: peers > SHARED_ABOVE,
    })
    const network = values.network === 'lan' ? LOCAL_AREA : WIDE_AREA
    const faults = withChurn({ ...NO_FAULTS, network }, options, {
      percentPerMinute: Number(values.churn ?? 0),
      killEveryS: number(values['kill-every']),
    })
    const report = simulate(options, faults)
    console.log(COLUMNS.map(([, cell]) => cell(report).padStart(10)).join(''))
    if (values.item !== undefined) console.log(report.story.join('\n'))
    if (values.verbose) console.log(report.entries, report.messages, report)
    if (report.problems.length > 0) {
      const churn = values.churn === undefined ? '' : ` --churn ${values.churn}`
      const every = values['kill-every']
      told(
        report,
        options,
        faults,
        `${churn}${every === undefined ? '' : ` --kill-every ${every}`}`,
      )
    }
  }
}

if (values.help) console.log(USAGE)
else if (values.chaos) chaos()
else table()

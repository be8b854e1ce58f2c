/**
 * What the death of a peer costs: real processes on loopback, one of them killed, stopped or told to leave in the middle of a
 * CPU-bound job. `npm run recovery` prints one table; docs/benchmarks.md explains each row.
 *
 *   node dist/bench/recovery.js [--rounds 3] [kill] [stop] [leave] [churn]
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Job, joinMesh, type Mesh } from '../src/index.ts'
import { createLoopback } from '../test/chaos/lib/network.ts'
import { type Execution, readExecutions } from '../test/chaos/lib/records.ts'
import { ROOT, Swarm } from '../test/chaos/lib/swarm.ts'
import { costOf, wrongValues } from '../test/chaos/lib/values.ts'
import { cpuSeconds, median } from './lib/processes.ts'

const TASK = join(ROOT, 'test', 'fixtures', 'tasks', 'chaos-work.ts')
const MEAN_ITEM_MS = 5
const LEASE_S = 10

type End = 'kill' | 'stop' | 'leave'

interface Round {
  /** After the ideal of the one core that is left, s. */
  readonly lateS: number
  /** Time that the other peer's worker had nothing to run, from the end of the one to the end of the job, s. */
  readonly idleS: number
  readonly lost: number
  /** Items in hand on the one that ended. */
  readonly twice: number
  /** Items that an idle peer ran a copy of. */
  readonly copies: number
  /** CPU of what ran twice, ms: a chunk is about 250. */
  readonly twiceMs: number
}

const { values, positionals } = parseArgs({
  options: { rounds: { type: 'string', default: '3' } },
  allowPositionals: true,
})

function row(what: string, figure: string, target: string): void {
  console.log(`${what.padEnd(56)} ${figure.padEnd(62)} ${target}`)
}

/** Peers in a folder of their own, and a submitter in this process that lends nothing. */
class Scene {
  readonly swarm: Swarm
  readonly folder: string
  private submitter: Mesh | undefined

  private constructor(swarm: Swarm, folder: string) {
    this.swarm = swarm
    this.folder = folder
  }

  static async create(peers: number): Promise<Scene> {
    const folder = await mkdtemp(join(tmpdir(), 'mesh-recovery-'))
    return new Scene(new Swarm(await createLoopback(peers), folder), folder)
  }

  async submit(name: string, items: number): Promise<{ job: Job<number>; records: string }> {
    this.submitter ??= await this.join()
    const records = await mkdtemp(join(this.folder, `${name}-`))
    const args = { folder: records, meanMs: MEAN_ITEM_MS, valueBytes: 0 }
    const job = await this.submitter.submit<number, number>(TASK, { range: [0, items] }, { args })
    return { job, records }
  }

  /** Runs a job to its end; ms from submit to that. */
  async time(name: string, items: number): Promise<number> {
    const started = performance.now()
    const { job } = await this.submit(name, items)
    await job.wait()
    return performance.now() - started
  }

  async close(): Promise<void> {
    await this.submitter?.stop()
    await this.swarm.close()
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }

  private async join(): Promise<Mesh> {
    return joinMesh({
      dataDir: join(this.folder, 'submitter'),
      ticket: this.swarm.someTicket,
      cores: 0,
      mdns: false,
      listen: ['/ip4/127.0.0.1/tcp/0'],
    })
  }
}

/** 60 s of CPU: 36 s are left to one core. */
const ITEMS = 12_000
const PART_DONE = 0.4
/** From here to the end the one that is left works alone, its ranges reclaimed: a lease and a bit. */
const LONG_GAP_MS = 150
const SETTLED_MS = 12_500

/** One of two peers ends when 40 % of the job are done. */
async function endOne(how: End): Promise<Round> {
  const scene = await Scene.create(2)
  try {
    await scene.swarm.start(0)
    await scene.time('warm', 200)
    await scene.swarm.start(1)
    await scene.time('both', 400)
    const { job, records } = await scene.submit('job', ITEMS)
    for await (const { done } of job.watch()) if (done >= PART_DONE * ITEMS) break
    const pid = scene.swarm.pid(1)
    const endedAt = Date.now()
    if (how === 'kill') await scene.swarm.kill(1)
    else if (how === 'stop') await scene.swarm.stop(1, true)
    const leaving = how === 'leave' ? scene.swarm.leave(1) : undefined
    const values = await job.collect()
    const finishedAt = Date.now()
    await leaving
    const executions = await readExecutions(records)
    const others = executions.filter(({ peerPid }) => peerPid !== pid)
    // The rate of the one core that is left, once all is settled: other programs slow both phases down alike.
    const steady = [endedAt + SETTLED_MS, finishedAt - 500] as const
    const rate = (doneBy(others, steady[1]) - doneBy(others, steady[0])) / (steady[1] - steady[0])
    const leftMs = (workOf(ITEMS) - doneBy(executions, endedAt)) / rate
    console.error(`  idle (s after the end of the other): ${gapsOf(others, endedAt)}`)
    const again = repeats(executions)
    const inHand = again.filter((item) =>
      executions.some((one) => one.item === item && one.peerPid === pid && one.startedAt < endedAt),
    )
    return {
      lateS: (finishedAt - endedAt - leftMs) / 1000,
      idleS: (finishedAt - endedAt - busyMs(executions, pid, endedAt)) / 1000,
      lost: wrongValues(values, ITEMS, 0).length,
      twice: inHand.length,
      copies: again.length - inHand.length,
      twiceMs: inHand.reduce((sum, item) => sum + costOf(item) * MEAN_ITEM_MS, 0),
    }
  } finally {
    await scene.close()
  }
}

/** CPU of a job's items, ms. */
function workOf(items: number): number {
  let sum = 0
  for (let item = 0; item < items; item += 1) sum += costOf(item) * MEAN_ITEM_MS
  return sum
}

/** CPU of what was done at that time, also of the parts that were under way. */
function doneBy(executions: readonly Execution[], at: number): number {
  let sum = 0
  for (const { item, startedAt, endedAt } of executions) {
    const cost = costOf(item) * MEAN_ITEM_MS
    if (endedAt !== undefined && endedAt <= at) sum += cost
    else if (startedAt < at) sum += Math.min(cost, at - startedAt)
  }
  return sum
}

/** Time that workers of other peers than `pid` spent on items after `from`, ms. */
function busyMs(executions: readonly Execution[], pid: number, from: number): number {
  let sum = 0
  for (const { peerPid, startedAt, endedAt } of executions) {
    if (peerPid === pid || endedAt === undefined || endedAt <= from) continue
    sum += endedAt - Math.max(startedAt, from)
  }
  return sum
}

/** When the other peer's worker ran nothing for long. */
function gapsOf(executions: readonly Execution[], from: number): string {
  const late = executions.filter(({ endedAt = 0 }) => endedAt > from)
  late.sort((a, b) => a.startedAt - b.startedAt)
  const gaps: string[] = []
  let at = from
  for (const { startedAt, endedAt } of late) {
    if (startedAt - at > LONG_GAP_MS) {
      gaps.push(`${((at - from) / 1000).toFixed(2)}-${((startedAt - from) / 1000).toFixed(2)}`)
    }
    at = Math.max(at, endedAt ?? startedAt)
  }
  return gaps.join(', ')
}

function repeats(executions: readonly Execution[]): number[] {
  const seen = new Set<number>()
  const again: number[] = []
  for (const { item } of executions) {
    if (seen.has(item)) again.push(item)
    else seen.add(item)
  }
  return again
}

async function endings(how: End, what: string, target: string): Promise<void> {
  const rounds: Round[] = []
  for (let round = 0; round < Number(values.rounds); round += 1) {
    rounds.push(await endOne(how))
    console.error(`  ${how}: ${JSON.stringify(rounds.at(-1))}`)
  }
  const late = rounds.map(({ lateS }) => lateS)
  const most = (pick: (round: Round) => number): number => Math.max(...rounds.map(pick))
  row(
    what,
    `median ${median(late).toFixed(2)} s (${Math.min(...late).toFixed(2)} to ${Math.max(...late).toFixed(2)}), idle ${median(rounds.map((r) => r.idleS)).toFixed(2)} s, lost ${most((r) => r.lost)}, ` +
      `run twice at most ${most((r) => r.twice)} items (${most((r) => r.twiceMs).toFixed(0)} ms)`,
    target,
  )
}

const CHURN_PEERS = 5
const CHURN_ITEMS = 12_000
const CHURN_EVERY_MS = 5_000

/** The same job with and without a kill or a start every 5 s. */
async function churn(): Promise<void> {
  const quiet = await churnRun(false)
  const rough = await churnRun(true)
  const startS = await startCost()
  row('five peers, 60 s of CPU, no kills', `${quiet.seconds.toFixed(1)} s`, '')
  row(
    'the same, a kill -9 or a start every 5 s',
    `${rough.seconds.toFixed(1)} s, ${((100 * quiet.seconds) / rough.seconds).toFixed(0)} % efficiency, ${rough.kills} kills, ${rough.starts} starts, run twice ${rough.twice}, lost ${rough.lost}`,
    'report',
  )
  row(
    'what one start of a peer costs',
    `${startS.cpu.toFixed(2)} s of CPU, ready after ${startS.wall.toFixed(2)} s`,
    'report',
  )
}

interface ChurnRun {
  readonly seconds: number
  readonly kills: number
  readonly starts: number
  readonly twice: number
  readonly lost: number
}

async function churnRun(rough: boolean): Promise<ChurnRun> {
  const scene = await Scene.create(CHURN_PEERS)
  const { swarm } = scene
  let timer: NodeJS.Timeout | undefined
  let kills = 0
  let starts = 0
  try {
    await swarm.start(0)
    await Promise.all(swarm.peers.slice(1).map(({ index }) => swarm.start(index)))
    await scene.time('warm', 1_000)
    const started = Date.now()
    const { job, records } = await scene.submit('job', CHURN_ITEMS)
    let under: Promise<void> = Promise.resolve()
    if (rough) {
      timer = setInterval(() => {
        const down = swarm.peers.find(({ index }) => !swarm.isUp(index))
        if (down === undefined) under = swarm.kill(1 + (kills++ % (CHURN_PEERS - 1)))
        else {
          starts += 1
          under = swarm.start(down.index)
        }
      }, CHURN_EVERY_MS)
    }
    const found = await job.collect()
    const seconds = (Date.now() - started) / 1000
    clearInterval(timer)
    await under
    const twice = repeats(await readExecutions(records)).length
    return { seconds, kills, starts, twice, lost: wrongValues(found, CHURN_ITEMS, 0).length }
  } finally {
    clearInterval(timer)
    await scene.close()
  }
}

/** Node, libp2p, the store and the join, on a mesh that has nothing to do. */
async function startCost(): Promise<{ cpu: number; wall: number }> {
  const scene = await Scene.create(2)
  try {
    await scene.swarm.start(0)
    await scene.swarm.start(1)
    const cpu: number[] = []
    const wall: number[] = []
    for (let round = 0; round < 3; round += 1) {
      await scene.swarm.kill(1)
      const started = performance.now()
      await scene.swarm.start(1)
      wall.push((performance.now() - started) / 1000)
      cpu.push(await cpuSeconds(scene.swarm.pid(1)))
    }
    return { cpu: median(cpu), wall: median(wall) }
  } finally {
    await scene.close()
  }
}

const want = (name: string): boolean => positionals.length === 0 || positionals.includes(name)
if (want('kill')) {
  await endings(
    'kill',
    'one of two peers killed at 40 %: end after the ideal',
    '<= 3 s, lost 0, one chunk',
  )
}
if (want('stop')) {
  await endings('stop', 'stopped (SIGSTOP) instead', `<= ${LEASE_S + 3} s, lost 0`)
}
if (want('leave')) await endings('leave', 'told to leave (Ctrl-C) instead', 'lost 0, nothing twice')
if (want('churn')) await churn()

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pause } from '../../../src/base/pause.ts'
import type { JobInfo, Mesh } from '../../../src/index.ts'
import { canMakeNamespaces, createNamespaces } from './namespaces.ts'
import type { ChaosNetwork } from './network.ts'
import { createProxies } from './proxies.ts'
import { type Lapse, readExecutions, type Tally, tallyOf } from './records.ts'
import { describeFault, type Fault, type FaultKind, scheduleOf } from './schedule.ts'
import { ROOT, Swarm } from './swarm.ts'
import { wrongValues } from './values.ts'

export interface ChaosOptions {
  readonly seed: number
  readonly peers?: number
  /** CPU of the whole job, ms. */
  readonly workMs?: number
  /** Faults begin within it; those under way then end. */
  readonly faultsMs?: number
  /** Which peer submits; nothing happens to it unless `submitterToo`. */
  readonly submitterToo?: boolean
  /** How many may be down at once. */
  readonly maxDown?: number
  /** Bytes of a value: above some, results are blobs on keepers. 0: numbers. */
  readonly valueBytes?: number
  /** Idle peers may copy what is slow elsewhere, which runs it twice. */
  readonly speculate?: boolean
  readonly kinds?: readonly FaultKind[]
  readonly network?: 'namespaces' | 'proxies'
  /** How long the job may take once the faults are over, besides its CPU time. */
  readonly patienceMs?: number
  readonly log?: (line: string) => void
}

export interface ChaosReport {
  readonly seed: number
  readonly network: ChaosNetwork['kind']
  readonly items: number
  /** Submit to the end of the job, s. */
  readonly seconds: number
  /** The faults that took place. */
  readonly faults: readonly Fault[]
  readonly tally: Tally
  readonly info: JobInfo | undefined
  /** The arguments of `npm run chaos` that run the same again. */
  readonly replay: string
  /** What is wrong; empty when all is well. */
  readonly problems: readonly string[]
  /** Logs and records; there only when there are problems. */
  readonly folder: string | undefined
}

const TASK = join(ROOT, 'test', 'fixtures', 'tasks', 'chaos-work.ts')
const MEAN_ITEM_MS = 12
const POLL_MS = 200
const WORK_MS = 40_000
const FAULTS_MS = 25_000
const MAX_DOWN = 2
const PEERS = 5

/** One job over real processes while a seeded schedule of faults goes on; every member must give the right results at the end. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const folder = mkdtempSync(join(tmpdir(), 'meshwork-chaos-'))
  const network = await makeNetwork(options)
  const swarm = new Swarm(network, folder)
  const run = new ChaosRun(options, swarm, folder)
  try {
    await run.faultsAndWork()
    await run.checkResults()
  } catch (error) {
    run.problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
  } finally {
    await run.close()
    await swarm.close()
  }
  const report = await run.report(network.kind)
  if (report.problems.length === 0) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  return report
}

async function makeNetwork(options: ChaosOptions): Promise<ChaosNetwork> {
  const count = options.peers ?? PEERS
  const kind = options.network ?? ((await canMakeNamespaces()) ? 'namespaces' : 'proxies')
  return kind === 'namespaces' ? createNamespaces(count) : createProxies(count)
}

class ChaosRun {
  readonly problems: string[] = []
  private readonly options: ChaosOptions
  private readonly swarm: Swarm
  private readonly folder: string
  private readonly records: string
  private readonly items: number
  private readonly submitter: number
  private readonly schedule: readonly Fault[]
  private readonly done: Fault[] = []
  private readonly lapses: Lapse[] = []
  private readonly handles = new Map<number, Mesh>()
  private job = ''
  private info: JobInfo | undefined
  private seconds = 0
  /** The job has ended: faults under way end too, no others begin. */
  private readonly over = new AbortController()

  constructor(options: ChaosOptions, swarm: Swarm, folder: string) {
    this.options = options
    this.swarm = swarm
    this.folder = folder
    this.records = join(folder, 'records')
    mkdirSync(this.records)
    const { seed, workMs = WORK_MS, faultsMs = FAULTS_MS, maxDown = MAX_DOWN } = options
    const peers = swarm.peers.length
    this.items = Math.round(workMs / MEAN_ITEM_MS)
    this.submitter = seed % peers
    this.schedule = scheduleOf({
      seed,
      peers,
      durationMs: faultsMs,
      maxDown,
      spared: options.submitterToo === true ? [] : [this.submitter],
      ...(options.kinds === undefined ? {} : { kinds: options.kinds }),
    })
  }

  async faultsAndWork(): Promise<void> {
    const { swarm } = this
    await swarm.start(0)
    await Promise.all(swarm.peers.slice(1).map(({ index }) => swarm.start(index)))
    await this.untilConnected()
    const mesh = await this.mesh(this.submitter)
    const args = {
      folder: this.records,
      meanMs: MEAN_ITEM_MS,
      valueBytes: this.options.valueBytes ?? 0,
    }
    const started = Date.now()
    const job = await mesh.submit(
      TASK,
      { range: [0, this.items] },
      { args, detach: true, speculate: this.options.speculate ?? false },
    )
    this.job = job.id
    this.log(`job ${job.id.slice(0, 8)} of ${this.items} items, by peer ${this.submitter}`)
    const faults = Promise.all(this.schedule.map((fault) => this.inflict(fault, started)))
    await this.untilFinished(started)
    this.seconds = (Date.now() - started) / 1000
    this.over.abort()
    await faults
    for (const { index } of swarm.peers) {
      if (!swarm.isUp(index)) throw new Error(`peer ${index} is down after the faults`)
    }
  }

  /** Every member knows the job's end; the submitter and another give its values. */
  async checkResults(): Promise<void> {
    const { swarm } = this
    await this.untilConnected()
    for (const { index } of swarm.peers) {
      await this.until(`peer ${index} knows the end`, 30_000, async () => {
        const info = await (await this.mesh(index)).job(this.job).then((job) => job.info())
        if (info.failed > 0) throw new Error(`${info.failed} items failed on peer ${index}`)
        return info.state === 'finished' && info.done === this.items
      })
    }
    const count = swarm.peers.length
    const other = (this.submitter + 1 + (this.options.seed % (count - 1))) % count
    for (const index of [this.submitter, other]) {
      const job = await (await this.mesh(index)).job<number | Uint8Array>(this.job)
      const values = await job.collect({ signal: AbortSignal.timeout(60_000) })
      this.problems.push(
        ...wrongValues(values, this.items, this.options.valueBytes ?? 0).map(
          (problem) => `from peer ${index}: ${problem}`,
        ),
      )
    }
  }

  async report(network: ChaosNetwork['kind']): Promise<ChaosReport> {
    const tally = tallyOf(
      this.items,
      await readExecutions(this.records),
      this.lapses,
      this.options.speculate ?? false,
    )
    const { neverRan, unexplained } = tally
    if (this.job !== '' && neverRan.length > 0) {
      this.problems.push(`${neverRan.length} items never ran: ${neverRan.slice(0, 10)}`)
    }
    for (const { item, runs } of unexplained.slice(0, 10)) {
      this.problems.push(`item ${item} ran ${runs.length} times: ${this.storyOf(runs)}`)
    }
    if (unexplained.length > 10) this.problems.push(`… ${unexplained.length} such items in all`)
    return {
      seed: this.options.seed,
      network,
      items: this.items,
      seconds: this.seconds,
      faults: this.done,
      tally,
      info: this.info,
      replay: replayOf(this.options),
      problems: this.problems,
      folder: this.problems.length > 0 ? this.folder : undefined,
    }
  }

  async close(): Promise<void> {
    this.over.abort()
    await Promise.all([...this.handles.values()].map((mesh) => mesh.stop().catch(() => undefined)))
  }

  // ------------------------------------------------------------ faults

  private startedAt = 0

  private async inflict(fault: Fault, started: number): Promise<void> {
    this.startedAt = started
    await pause(Math.max(0, started + fault.atMs - Date.now()), this.over.signal)
    // What is not begun when the job ends proves nothing any more.
    if (this.over.signal.aborted || !this.swarm.isUp(fault.peer)) return
    const { swarm } = this
    const { kind, peer } = fault
    this.done.push(fault)
    this.log(describeFault(fault))
    const pid = swarm.pid(peer)
    const from = Date.now()
    try {
      await this.begin(fault)
      await pause(Math.max(0, started + fault.untilMs - Date.now()), this.over.signal)
      const until = kind === 'stop' || kind === 'cut' ? Date.now() : Infinity
      await this.end(fault)
      this.lapses.push({ kind, peer, pid, from, until: kind === 'leave' ? from + 20_000 : until })
    } catch (error) {
      this.problems.push(`${describeFault(fault)}: ${String(error)}`)
    }
  }

  private async begin({ kind, peer, workersToo }: Fault): Promise<void> {
    if (kind === 'kill' || kind === 'leave') this.forgetHandle(peer)
    if (kind === 'kill') await this.swarm.kill(peer)
    else if (kind === 'leave') await this.swarm.leave(peer)
    else if (kind === 'stop') await this.swarm.stop(peer, workersToo)
    else await this.swarm.cut(peer)
  }

  private async end({ kind, peer }: Fault): Promise<void> {
    if (kind === 'stop') await this.swarm.continue(peer)
    else if (kind === 'cut') await this.swarm.heal(peer)
    else await this.swarm.start(peer)
  }

  // ------------------------------------------------------------ waiting

  private async untilConnected(): Promise<void> {
    const all = this.swarm.peers.length
    for (const { index } of this.swarm.peers) {
      await this.until(`peer ${index} is connected to all`, 30_000, async () => {
        const peers = await (await this.mesh(index)).peers()
        return peers.filter((peer) => peer.connected || peer.self).length === all
      })
    }
  }

  private async untilFinished(started: number): Promise<void> {
    const { workMs = WORK_MS, patienceMs = 45_000 } = this.options
    const faultsEnd = Math.max(0, ...this.schedule.map(({ untilMs }) => untilMs))
    const limitMs = faultsEnd + workMs + patienceMs
    const what = 'the job ends'
    await this.until(what, started + limitMs - Date.now(), async () => {
      for (const { index } of this.swarm.peers) {
        if (!this.swarm.isUp(index)) continue
        const job = await (await this.mesh(index)).job(this.job)
        this.info = await job.info()
        if (this.info.state === 'finished') return true
      }
      return false
    }).catch(async (error: unknown) => {
      this.problems.push(...(await this.views()))
      throw error
    })
  }

  private async until(what: string, limitMs: number, holds: () => Promise<boolean>): Promise<void> {
    const until = Date.now() + limitMs
    let last: unknown = 'no'
    while (Date.now() < until) {
      try {
        // A peer may be stopped in the middle of an answer.
        const late = pause(5_000).then(() => Promise.reject(new Error('no answer for 5 s')))
        if (await Promise.race([holds(), late])) return
        last = 'no'
      } catch (error) {
        last = error
        this.handles.clear()
      }
      await pause(POLL_MS)
    }
    throw new Error(`waited ${Math.round(limitMs / 1000)} s in vain: ${what} (${String(last)})`)
  }

  /** What each peer thinks of the job. */
  private async views(): Promise<string[]> {
    return Promise.all(
      this.swarm.peers.map(async ({ index }) => {
        try {
          const mesh = await this.mesh(index)
          const [info, peers] = [await (await mesh.job(this.job)).info(), await mesh.peers()]
          const { state, done, log, peersAtWork } = info
          const near = peers.filter((peer) => peer.connected).map(({ name }) => name)
          return `peer ${index}: ${state}, ${done} of ${this.items}, ${JSON.stringify(log)}, ${peersAtWork} at work, connected to ${near}`
        } catch (error) {
          return `peer ${index}: ${String(error)}`
        }
      }),
    )
  }

  private async mesh(index: number): Promise<Mesh> {
    let mesh = this.handles.get(index)
    if (mesh === undefined) {
      mesh = await this.swarm.connect(index)
      this.handles.set(index, mesh)
    }
    return mesh
  }

  private forgetHandle(index: number): void {
    void this.handles
      .get(index)
      ?.stop()
      .catch(() => undefined)
    this.handles.delete(index)
  }

  private storyOf(runs: Tally['unexplained'][number]['runs']): string {
    const at = (ms: number | undefined): string =>
      ms === undefined ? '…' : ((ms - this.startedAt) / 1000).toFixed(2)
    const told = runs.map((run) => {
      const peer = this.swarm.nameOf(run.peerPid)
      return `${peer} ${at(run.startedAt)}-${at(run.endedAt)} s`
    })
    return told.join(', ')
  }

  private log(line: string): void {
    this.options.log?.(line)
  }
}

function replayOf(options: ChaosOptions): string {
  const {
    seed,
    peers = PEERS,
    workMs = WORK_MS,
    faultsMs = FAULTS_MS,
    maxDown = MAX_DOWN,
  } = options
  const { kinds, network, valueBytes = 0, submitterToo = false, speculate = false } = options
  return [
    `--seed ${seed} --seeds 1 --peers ${peers} --work ${workMs / 1000} --faults ${faultsMs / 1000}`,
    `--down ${maxDown} --submitter ${submitterToo ? 'too' : 'spared'} --bytes ${valueBytes}`,
    `--copies ${speculate ? 'yes' : 'no'}`,
    ...(kinds === undefined ? [] : [`--kinds ${kinds.join(',')}`]),
    ...(network === undefined ? [] : [`--network ${network}`]),
  ].join(' ')
}

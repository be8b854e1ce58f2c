/**
 * The figures of compositions and of many jobs at once: two `mesh join --cores 1` processes and a submitter that lends nothing, all
 * real processes on loopback. `node dist/bench/compose.js [chord] [reduce] [dag] [jobs] [--peers DIR]`; with `--peers` the brokered
 * systems of that harness do the same chord in turn with ours. docs/benchmarks.md explains each row.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { chord, defineTask, joinMesh, type Mesh, map, reduce } from '../src/index.ts'
import { median, percentile, withTwoPeers } from './lib/processes.ts'

const square = defineTask({ name: 'square', run: (x: number) => x * x })
const sum = defineTask({
  name: 'sum',
  run: (values: number[]) => values.reduce((total, value) => total + value, 0),
})
const add = defineTask({ name: 'add', run: ([a, b]: [number, number]) => a + b })
const spin = defineTask({
  name: 'spin',
  run: (ms: number) => {
    const until = performance.now() + ms
    while (performance.now() < until);
    return ms
  },
})

const row = (what: string, figure: string, target: string) =>
  console.log(`${what.padEnd(58)} ${figure.padEnd(56)} ${target}`)

const BROKERED = ['bee-queue', 'bullmq']
const CHORD_TASKS = 1_000

async function oneChord(mesh: Mesh): Promise<number> {
  const items = Array.from({ length: CHORD_TASKS }, (_, i) => i)
  const expected = items.reduce((total, x) => total + x * x, 0)
  const started = performance.now()
  const job = await mesh.submit(chord(map(square, items), sum.s()))
  const value = await job.collect()
  const ms = performance.now() - started
  if ((value as unknown) !== expected) throw new Error(`${String(value)}, not ${expected}`)
  return ms
}

/** `alone`: one process with two workers, as a user on one machine has it. */
async function chords(mesh: Mesh, alone: Mesh, peers: string | undefined): Promise<void> {
  const ours: number[] = []
  const local: number[] = []
  const theirs = new Map<string, number[]>(BROKERED.map((name) => [name, []]))
  for (let i = 0; i < 10; i += 1) {
    await oneChord(mesh)
    await oneChord(alone)
  }
  for (let round = 0; round < 5; round += 1) {
    for (let i = 0; i < 20; i += 1) ours.push(await oneChord(mesh))
    for (let i = 0; i < 20; i += 1) local.push(await oneChord(alone))
    if (peers === undefined) continue
    for (const [name, times] of theirs) times.push(await brokered(peers, name))
  }
  const others = [...theirs]
    .filter(([, times]) => times.length > 0)
    .map(([name, times]) => `${name} ${median(times).toFixed(0)} ms`)
  const fastest = Math.min(...[...theirs.values()].map((times) => median(times)))
  const tell = (where: string, times: number[]) => {
    const ratio = others.length === 0 ? '' : `, ${(fastest / median(times)).toFixed(1)} x`
    const figure = `median ${median(times).toFixed(1)} ms, p95 ${percentile(times, 0.95).toFixed(1)} ms${ratio}`
    row(`chord of ${CHORD_TASKS} and a sum, ${where}`, figure, '>= 5 x the fastest')
  }
  tell('two peers', ours)
  tell('one process', local)
  if (others.length > 0) row('the same beside them', others.join(', '), '')
}

/** Milliseconds of W5 on a system of the harness. */
async function brokered(folder: string, system: string): Promise<number> {
  const { stdout } = await promisify(execFile)(join(folder, 'run.sh'), [system, 'W5'])
  const line = stdout.trim().split('\n').at(-1) ?? ''
  const { seconds } = JSON.parse(line) as { seconds?: number }
  if (typeof seconds !== 'number') throw new Error(`${system} W5 said ${line}`)
  return seconds * 1000
}

/** Bytes that this process has read since it began: sockets and files. Linux. */
async function bytesRead(): Promise<number> {
  const io = await readFile('/proc/self/io', 'utf8')
  return Number(/rchar: (\d+)/.exec(io)?.[1])
}

async function reduction(mesh: Mesh): Promise<void> {
  const n = 10_000_000
  const expected = (n * (n - 1)) / 2
  for (let round = 0; round < 3; round += 1) {
    const before = await bytesRead()
    const started = performance.now()
    const job = await mesh.submit(
      reduce(
        map((x: number) => x, { range: [0, n] }),
        add,
      ),
    )
    const value = await job.collect()
    const ms = performance.now() - started
    const moved = (await bytesRead()) - before
    if ((value as unknown) !== expected) throw new Error(`${String(value)}, not ${expected}`)
    row(
      'reduce over 10 M items',
      `${(ms / 1000).toFixed(2)} s, ${(moved / 1e6).toFixed(2)} MB read by the submitter`,
      '< 1 MB',
    )
  }
}

async function dag(mesh: Mesh): Promise<void> {
  const n = 10_000
  const width = 100
  for (let round = 0; round < 3; round += 1) {
    const built = performance.now()
    // Layers of 100, each node the sum of two of the layer before.
    let layer = Array.from({ length: width }, (_, i) => add.s(i, 1))
    for (let made = width; made < n - 1; made += width) {
      const before = layer
      layer = before.map((node, i) => add.s(node, before[(i + 1) % width]!))
    }
    const root = sum.s(layer)
    const started = performance.now()
    const job = await mesh.submit(root)
    const submitted = performance.now()
    await job.collect()
    const ended = performance.now()
    row(
      `DAG of ${n} nodes`,
      `built ${(started - built).toFixed(0)} ms, submitted ${(submitted - started).toFixed(0)} ms, ran ${((ended - submitted) / n).toFixed(3)} ms a node`,
      '< 2 s, < 1 ms a node',
    )
  }
}

async function manyJobs(mesh: Mesh): Promise<void> {
  const jobs = await Promise.all(
    Array.from({ length: 1_000 }, () =>
      mesh.submit(spin, { items: Array.from({ length: 20 }, (_, i) => 1 + ((i * 7) % 50)) }),
    ),
  )
  const times: number[] = []
  for (let i = 0; i < 200; i += 1) {
    const started = performance.now()
    await mesh.map(square, [i])
    times.push(performance.now() - started)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  const left = (await mesh.jobs()).filter((job) => job.state === 'running').length
  row(
    `a one-item job among 1 000 (${left} still there at the end)`,
    `p50 ${percentile(times, 0.5).toFixed(0)} ms, p99 ${percentile(times, 0.99).toFixed(0)} ms`,
    'p99 <= 250 ms',
  )
  await mesh.cancel('all', { reason: 'measured' })
  await Promise.all(jobs.map((job) => job.wait()))
}

async function main(): Promise<void> {
  const words = process.argv.slice(2)
  const at = words.indexOf('--peers')
  const peers = at < 0 ? undefined : words.splice(at, 2)[1]
  const want = (name: string) => words.length === 0 || words.includes(name)
  await withTwoPeers(async (mesh) => {
    await mesh.map(square, [1, 2, 3, 4])
    if (want('chord')) {
      const folder = await mkdtemp(join(tmpdir(), 'mesh-bench-alone-'))
      const options = { dataDir: folder, cores: 2, mdns: false, listen: ['/ip4/127.0.0.1/tcp/0'] }
      const alone = await joinMesh(options)
      await chords(mesh, alone, peers)
      await alone.stop()
      await rm(folder, { recursive: true, force: true })
    }
    if (want('reduce')) await reduction(mesh)
    if (want('dag')) await dag(mesh)
    if (want('jobs')) await manyJobs(mesh)
  })
}

await main()

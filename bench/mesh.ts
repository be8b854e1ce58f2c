/**
 * The figures of a whole mesh on this machine: two `mesh join --cores 1` processes and a submitter that lends nothing, all real
 * processes on loopback. `npm run bench:mesh` prints one table; docs/benchmarks.md explains each row.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { defineTask, type Mesh } from '../src/index.ts'
import {
  cpuSeconds,
  median,
  type PeerProcess,
  percentile,
  residentMb,
  startPeer,
  withTwoPeers,
} from './lib/processes.ts'
import { blocks, primesBlock } from './lib/uneven.ts'

const square = defineTask({ name: 'square', run: (x: number) => x * x })
const spin = defineTask({ name: 'uneven', run: primesBlock })
const big = defineTask({
  name: 'big',
  run: (i: number) => new Uint8Array(1_000_000).fill(i % 256),
})

const rows: [string, string, string][] = []
const row = (what: string, figure: string, target: string) => {
  rows.push([what, figure, target])
  console.log(`${what.padEnd(58)} ${figure.padEnd(44)} ${target}`)
}

const MILLION = 1_000_000

async function trivialItems(mesh: Mesh): Promise<void> {
  const rates: number[] = []
  let entriesPerChunk = 0
  let shape = ''
  for (let round = 0; round < 5; round += 1) {
    const started = performance.now()
    const job = await mesh.submit(square, { range: [0, MILLION] })
    let next = 0
    for await (const { lo, values } of job.batches({ order: 'item' })) {
      if (lo !== next) throw new Error(`batch starts at ${lo}, not ${next}`)
      for (const value of values) {
        if (value !== next * next) throw new Error(`item ${next}: ${String(value)}`)
        next += 1
      }
    }
    const ms = performance.now() - started
    if (next !== MILLION) throw new Error(`${next} items`)
    rates.push(MILLION / (ms / 1000))
    const { log } = await job.info()
    entriesPerChunk = Math.max(entriesPerChunk, log.entries / log.chunks)
    shape = `${log.entries} entries, ${log.chunks} chunks, ${log.grants} grants`
  }
  const best = Math.max(...rates)
  row(
    '1 M trivial items, submit to last in order (5 rounds)',
    `median ${k(median(rates))}, best ${k(best)} items/s`,
    '>= 500 k items/s',
  )
  row(
    'log entries per chunk, worst round',
    `${entriesPerChunk.toFixed(2)} (last: ${shape})`,
    '<= 1',
  )
}

async function unevenWork(mesh: Mesh): Promise<void> {
  const items = blocks(200, 24_000_000)
  const ratios: number[] = []
  for (let round = 0; round < 3; round += 1) {
    const { ms: forkMs, total: expected } = await twoForks(items)
    const started = performance.now()
    const counts = await mesh.map(spin, items)
    const meshMs = performance.now() - started
    const total = counts.reduce((sum, n) => sum + n, 0)
    if (total !== expected) throw new Error(`${total} primes, the forks found ${expected}`)
    ratios.push(forkMs / meshMs)
    console.error(`  uneven: forks ${forkMs.toFixed(0)} ms, mesh ${meshMs.toFixed(0)} ms`)
  }
  row(
    'uneven CPU work: two bare forks / the mesh',
    `${median(ratios).toFixed(3)} (${ratios.map((r) => r.toFixed(3)).join(', ')})`,
    '>= 0.95',
  )
}

/** Two forked processes that take the same chunks from one list, one at a time. */
async function twoForks(
  items: readonly { from: number; to: number }[],
): Promise<{ ms: number; total: number }> {
  const path = fileURLToPath(new URL('./lib/uneven.js', import.meta.url))
  const children = [fork(path), fork(path)]
  await Promise.all(children.map((child) => once(child, 'message')))
  const started = performance.now()
  let next = 0
  let finished = 0
  let total = 0
  await new Promise<void>((resolve) => {
    for (const child of children) {
      const give = () => {
        if (next < items.length) child.send(items[next++]!)
      }
      child.on('message', (count: number) => {
        total += count
        finished += 1
        if (finished === items.length) resolve()
        else give()
      })
      give()
    }
  })
  const ms = performance.now() - started
  for (const child of children) child.disconnect()
  await Promise.all(children.map((child) => once(child, 'exit')))
  return { ms, total }
}

async function latency(mesh: Mesh): Promise<void> {
  const times: number[] = []
  for (let i = 0; i < 220; i += 1) {
    const started = performance.now()
    const [value] = await mesh.map(square, [i])
    if (value !== i * i) throw new Error(`${i}: ${value}`)
    if (i >= 20) times.push(performance.now() - started)
  }
  row(
    'one trivial item, submit to result (200)',
    `p50 ${percentile(times, 0.5).toFixed(2)} ms, p99 ${percentile(times, 0.99).toFixed(2)} ms`,
    'p50 <= 5 ms',
  )
}

async function lateJoiner(mesh: Mesh, ticket: string): Promise<void> {
  const work = defineTask({
    name: 'slow',
    run: (_: number) => {
      const until = performance.now() + 20
      while (performance.now() < until);
      return 1
    },
  })
  const job = await mesh.submit(work, { range: [0, 1500] })
  const started = performance.now()
  const peer = await startPeer({ cores: 1, ticket, name: 'late' })
  const readyMs = performance.now() - started
  const firstMs = await new Promise<number>((resolve, reject) => {
    const look = async () => {
      for await (const info of job.watch()) {
        if (info.peers.some((p) => p.name === 'late' && p.done > 0)) {
          resolve(performance.now() - started)
          return
        }
      }
      reject(new Error('the job ended before the late peer did anything'))
    }
    look().catch(reject)
  })
  await job.wait()
  row(
    'mesh join to first chunk finished there, job waiting',
    `${(firstMs / 1000).toFixed(2)} s (ready after ${(readyMs / 1000).toFixed(2)} s)`,
    '<= 3 s',
  )
  await peer.stop()
}

async function idle(peers: readonly PeerProcess[]): Promise<void> {
  const before = await Promise.all(peers.map((peer) => cpuSeconds(peer.pid)))
  const seconds = 20
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  const after = await Promise.all(peers.map((peer) => cpuSeconds(peer.pid)))
  const resident = await Promise.all(peers.map((peer) => residentMb(peer.pid)))
  const cpu = after.map((value, i) => (100 * (value - before[i]!)) / seconds)
  row(
    'idle peer',
    `${Math.max(...resident).toFixed(0)} MB resident, ${Math.max(...cpu).toFixed(2)} % of a core`,
    '<= 150 MB, <= 1 %',
  )
}

async function largeResults(mesh: Mesh, peers: readonly PeerProcess[]): Promise<void> {
  const pids = [process.pid, ...peers.map((peer) => peer.pid)]
  let peak = 0
  let where = ''
  const look = async () => {
    const all = await Promise.all(pids.map((pid) => residentMb(pid)))
    for (const [i, mb] of all.entries()) {
      if (mb > peak) {
        peak = mb
        where = i === 0 ? 'submitter' : `peer ${i}`
      }
    }
  }
  const timer = setInterval(() => void look(), 50)
  const started = performance.now()
  const job = await mesh.submit(big, { range: [0, 100] })
  let bytes = 0
  for await (const { values } of job.batches({ order: 'item' })) {
    for (const value of values) bytes += (value as Uint8Array).byteLength
  }
  const ms = performance.now() - started
  clearInterval(timer)
  if (bytes !== 100_000_000) throw new Error(`${bytes} bytes`)
  row(
    '100 MB of results',
    `${(bytes / 1e3 / ms).toFixed(0)} MB/s, peak ${peak.toFixed(0)} MB resident (${where})`,
    '<= 300 MB each',
  )
}

async function loopDelay(mesh: Mesh, peers: readonly PeerProcess[]): Promise<void> {
  const { connectMesh } = await import('../src/index.ts')
  const work = defineTask({
    name: 'load',
    run: (i: number) => {
      let x = i
      for (let n = 0; n < 2000; n += 1) x = Math.imul(x, 1_664_525) + 1
      return x
    },
  })
  const job = await mesh.submit(work, { range: [0, 2_000_000] })
  await job.wait()
  const delays: number[] = []
  for (const peer of peers) {
    const handle = await connectMesh({ dataDir: peer.dataDir })
    delays.push((await handle.status()).loopDelayMs.p99)
    await handle.stop()
  }
  row(
    'event-loop delay of a peer over the whole run, p99',
    `${delays.map((d) => `${d} ms`).join(', ')}`,
    '<= 20 ms',
  )
}

function k(rate: number): string {
  return `${(rate / 1000).toFixed(0)} k`
}

async function main(): Promise<void> {
  const only = new Set(process.argv.slice(2))
  const want = (name: string) => only.size === 0 || only.has(name)
  await withTwoPeers(async (mesh, first, second) => {
    await mesh.map(square, [1, 2, 3, 4])
    if (want('idle')) await idle([first, second])
    if (want('latency')) await latency(mesh)
    if (want('trivial')) await trivialItems(mesh)
    if (want('uneven')) await unevenWork(mesh)
    if (want('large')) await largeResults(mesh, [first, second])
    if (want('join')) await lateJoiner(mesh, first.ticket)
    if (want('loop')) await loopDelay(mesh, [first, second])
  })
}

await main()

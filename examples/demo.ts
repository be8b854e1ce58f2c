// `npm run demo`: three real peers and a submitter on this machine. A million items, then a picture, and who did what.
// Writes only to a temporary folder and leaves nothing running, also when it fails or is stopped with Ctrl-C.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Job, type JobInfo, joinMesh, type Mesh } from 'meshwork'
import { JoinedPeers } from './lib/children.ts'
import { bar, grouped, LiveBlock } from './lib/screen.ts'
import primes from './primes/task.ts'
import { toPng } from './raytrace/png.ts'
import raytrace, { PICTURE } from './raytrace/task.ts'
import { tileCount } from './raytrace/tracer.ts'

const NAMES = ['ant', 'bee', 'cat']
const ITEMS = 1_000_000
const BLOCK = 1_000
/** pi(10^9): Sloane's A006880. */
const PRIMES_BELOW_1E9 = 50_847_534
const POLL_MS = 100

interface Act<T> {
  readonly title: string
  readonly values: T[]
  readonly info: JobInfo
  readonly seconds: number
}

/** Bars of the whole job and of each peer, redrawn in place. */
function progressLines(info: JobInfo, rate: number): string[] {
  const share = info.items === 0 ? 1 : info.done / info.items
  const lines = [
    `  ${bar(share, 40)} ${(share * 100).toFixed(0).padStart(3)} %  ${grouped(info.done)} of ${grouped(info.items)}` +
      `  ${grouped(rate)} items/s`,
  ]
  for (const name of NAMES) {
    const done = info.peers.find((peer) => peer.name === name)?.done ?? 0
    lines.push(`    ${name}  ${bar(done / info.items, 36)} ${grouped(done)}`)
  }
  return lines
}

/** Shows a job's progress until `until` is over. */
async function show<T>(job: Job<T>, until: Promise<unknown>): Promise<void> {
  const block = new LiveBlock(process.stdout)
  const startedAt = performance.now()
  let over = false
  const ended = until.then(
    () => (over = true),
    () => (over = true),
  )
  while (!over) {
    const info = await job.info()
    const rate = (info.done / (performance.now() - startedAt)) * 1000
    const plain = `  ${grouped(info.done)} of ${grouped(info.items)} items, ${grouped(rate)} items/s`
    block.draw(progressLines(info, rate), plain)
    await Promise.race([ended, delay(POLL_MS)])
  }
  const info = await job.info()
  block.end(progressLines(info, (info.done / (performance.now() - startedAt)) * 1000))
}

/** Submits, shows, collects, and measures from the submit to the last result. */
async function perform<T>(title: string, submit: () => Promise<Job<T>>): Promise<Act<T>> {
  console.log(`\n${title}`)
  const startedAt = performance.now()
  const job = await submit()
  const collected = job.collect().then((values) => ({
    values,
    seconds: (performance.now() - startedAt) / 1000,
  }))
  await show(job, collected)
  return { title, ...(await collected), info: await job.info() }
}

function report(acts: readonly Act<unknown>[]): void {
  console.log('\nWhat happened')
  for (const { title, info, seconds } of acts) {
    const { entries, chunks, grants } = info.log
    console.log(`\n  ${title}`)
    console.log(
      `    ${grouped(info.items)} items in ${seconds.toFixed(1)} s: ${grouped(info.items / seconds)} items/s, ` +
        `${grouped(chunks)} chunks, ${grants} steals, ${entries} log entries`,
    )
    for (const peer of [...info.peers].sort((a, b) => b.done - a.done)) {
      const share = peer.done / info.items
      const percent = `${(share * 100).toFixed(1)} %`.padStart(7)
      console.log(`    ${peer.name.padEnd(6)} ${bar(share, 36)} ${percent}  ${grouped(peer.done)}`)
    }
  }
}

/** Resolves when the submitter is connected to all three. */
async function everyoneIsThere(mesh: Mesh): Promise<void> {
  const deadline = performance.now() + 20_000
  for (;;) {
    const there = (await mesh.peers()).filter((peer) => !peer.self && peer.connected)
    if (there.length >= NAMES.length) return
    if (performance.now() > deadline) {
      throw new Error(`only ${there.length} of ${NAMES.length} peers were found within 20 s`)
    }
    await delay(50)
  }
}

async function startMesh(peers: JoinedPeers, folder: string): Promise<Mesh> {
  console.log('Starting three peers, each a `mesh join` process that lends one core:')
  const [first, ...others] = NAMES
  const host = await peers.join({ name: first!, dataDir: join(folder, first!) })
  const joined = [
    host,
    ...(await Promise.all(
      others.map((name) => peers.join({ name, dataDir: join(folder, name), ticket: host.ticket })),
    )),
  ]
  for (const { name, pid } of joined) console.log(`  ${name}  process ${pid}`)
  const mesh = await joinMesh({
    dataDir: join(folder, 'laptop'),
    ticket: host.ticket,
    name: 'laptop',
    cores: 0,
    mdns: false,
    listen: ['/ip4/127.0.0.1/tcp/0'],
  })
  await everyoneIsThere(mesh)
  console.log(`and a submitter that lends none, this process ${process.pid}.`)
  return mesh
}

async function play(mesh: Mesh, folder: string): Promise<void> {
  const count = await perform('1. How many primes are below 1 000 000 000? A million items.', () =>
    mesh.submit(primes, { range: [0, ITEMS] }, { args: { block: BLOCK } }),
  )
  const total = count.values.reduce((sum, n) => sum + n, 0)
  if (total !== PRIMES_BELOW_1E9) throw new Error(`counted ${total}, not ${PRIMES_BELOW_1E9}`)
  console.log(`  ${grouped(total)} primes: exact.`)

  const paint = await perform(`2. A picture of ${tileCount(PICTURE)} ray-traced tiles.`, () =>
    mesh.submit(raytrace, { range: [0, tileCount(PICTURE)] }, { args: PICTURE }),
  )
  const picture = join(folder, 'raytrace.png')
  writeFileSync(picture, toPng(PICTURE, paint.values))
  keepFolder = true
  console.log(`  Look at it: ${picture}`)
  report([count, paint])
}

const folder = mkdtempSync(join(tmpdir(), 'meshwork-demo-'))
const data = join(folder, 'data')
mkdirSync(data)
const peers = new JoinedPeers()
let mesh: Mesh | undefined
let ending: Promise<void> | undefined
let keepFolder = false

/** Ends what this process started, in order; once, whoever asks first. */
function end(): Promise<void> {
  ending ??= (async () => {
    await mesh?.stop().catch((error: unknown) => console.error(error))
    await peers.stop()
    // The picture is all that stays.
    rmSync(keepFolder ? data : folder, { recursive: true, force: true })
  })()
  return ending
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    console.log('\nStopping the peers…')
    end().finally(() => process.exit(1))
  })
}

try {
  mesh = await startMesh(peers, data)
  await play(mesh, folder)
  await end()
  const seconds = Math.round(performance.now() / 1000)
  console.log(`\nAll four peers have stopped after ${seconds} s in all; nothing is left running.`)
} catch (error) {
  // After Ctrl-C the failures of what was cut off are no news.
  if (ending === undefined) console.error(error)
  process.exitCode = 1
  await end()
}

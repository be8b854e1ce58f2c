/** One worker, measured at the peer: trivial items a second, the round trip of one item, the codec. `node dist/bench/runtime.js` */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bundleInline } from '../src/runtime/bundle.ts'
import { createRuntime } from '../src/runtime/pool.ts'
import { decodeSegments, encodeSegment } from '../src/runtime/segment.ts'
import type { ChunkOutcome, ChunkRequest } from '../src/runtime/types.ts'

const TRIVIAL_ITEMS = 4_000_000
const ROUND_TRIPS = 2000
const CODEC_ITEMS = 1_000_000
const REPEATS = 5

const folder = mkdtempSync(join(tmpdir(), 'mesh-bench-'))
const runtime = createRuntime({ slots: 1 })

/** A chunk of x => x * x; its output is handed over, as bytes, and dropped. */
async function chunk(
  bundle: ChunkRequest['bundle'],
  lo: number,
  hi: number,
): Promise<ChunkOutcome> {
  const request: ChunkRequest = {
    job: 'bench',
    bundle,
    lo,
    hi,
    budgetMs: 250,
    input: { kind: 'range', start: 0 },
    args: undefined,
    retries: 0,
    timeLimitMs: undefined,
    memoryBytes: undefined,
    maxItemsPerWorker: undefined,
    peer: { id: 'bench', name: 'bench' },
  }
  return await runtime.run(request, {
    onOutput: () => {},
    onProgress: () => {},
    onLog: () => {},
  }).done
}

const best = (times: number[]): number => Math.min(...times)
const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]!

async function trivial(bundle: ChunkRequest['bundle']): Promise<void> {
  const times: number[] = []
  let chunks = 0
  for (let i = 0; i < REPEATS; i++) {
    const start = performance.now()
    for (let lo = 0; lo < TRIVIAL_ITEMS; chunks++)
      lo = (await chunk(bundle, lo, TRIVIAL_ITEMS)).reached
    times.push(performance.now() - start)
  }
  const plain: number[] = []
  for (let i = 0; i < REPEATS; i++) {
    const start = performance.now()
    for (let lo = 0; lo < TRIVIAL_ITEMS; lo += 30_000) {
      const values = []
      for (let x = lo; x < Math.min(TRIVIAL_ITEMS, lo + 30_000); x++) values.push(x * x)
      encodeSegment(values)
    }
    plain.push(performance.now() - start)
  }
  const rate = TRIVIAL_ITEMS / best(times) / 1000
  console.log(
    `trivial items, one worker: ${rate.toFixed(1)} M/s in ${chunks / REPEATS} chunks (a plain loop with the same encoding, in process: ${(TRIVIAL_ITEMS / best(plain) / 1000).toFixed(1)} M/s)`,
  )
}

async function roundTrip(bundle: ChunkRequest['bundle']): Promise<void> {
  const times: number[] = []
  for (let i = 0; i < ROUND_TRIPS; i++) {
    const start = performance.now()
    await chunk(bundle, i, i + 1)
    times.push(performance.now() - start)
  }
  times.sort((a, b) => a - b)
  console.log(
    `one item on a warm worker: p50 ${quantile(times, 0.5).toFixed(2)} ms, p99 ${quantile(times, 0.99).toFixed(2)} ms`,
  )
}

async function start(bundle: ChunkRequest['bundle']): Promise<void> {
  const began = performance.now()
  await chunk(bundle, 0, 1)
  console.log(`first item, worker started for it: ${(performance.now() - began).toFixed(0)} ms`)
}

function codec(): void {
  const kinds: [string, unknown[]][] = [
    ['integers', Array.from({ length: CODEC_ITEMS }, (_, i) => i)],
    ['floats', Array.from({ length: CODEC_ITEMS }, (_, i) => i / 7)],
    ['short strings', Array.from({ length: CODEC_ITEMS }, (_, i) => `value ${i}`)],
    [
      'records',
      Array.from({ length: CODEC_ITEMS / 10 }, (_, i) => ({ id: i, name: `n${i}`, ok: true })),
    ],
  ]
  for (const [name, values] of kinds) {
    const encode: number[] = []
    const decode: number[] = []
    for (let i = 0; i < REPEATS; i++) {
      const start = performance.now()
      const bytes = encodeSegment(values)
      const half = performance.now()
      for (const _ of decodeSegments(bytes, 0));
      encode.push(half - start)
      decode.push(performance.now() - half)
    }
    console.log(
      `${values.length} ${name}: encode ${best(encode).toFixed(0)} ms, decode ${best(decode).toFixed(0)} ms`,
    )
  }
}

const made = await bundleInline((x: number) => x * x)
const bundle = { hash: made.hash, path: join(folder, made.hash) }
writeFileSync(bundle.path, made.code)
try {
  await start(bundle)
  await trivial(bundle)
  await roundTrip(bundle)
  codec()
} finally {
  await runtime.close()
  rmSync(folder, { recursive: true, force: true })
}

/** The store on this machine: appends, runs taken in and served, what an entry costs on disk. `node dist/bench/store.js [entries]` */
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type BlobHash,
  type Entry,
  type EntryBody,
  type EntryHash,
  type JobId,
  type PeerId,
  type SessionId,
  ZERO_HASH,
} from '../src/scheduler/types.ts'
import { decodeEntry, encodeEntry, seal } from '../src/store/entry-codec.ts'
import { type Identity, loadOrCreateIdentity } from '../src/store/identity.ts'
import { openStore } from '../src/store/level-store.ts'
import { createMemoryStore } from '../src/store/memory-store.ts'
import type { FeedId, Run, Store } from '../src/store/types.ts'

const count = Number(process.argv[2] ?? 100_000)
const job = hash('job') as string as JobId
/** Entries of one run: what a chunk's end, a busy second, and a catch-up bring. */
const RUN_SIZES = [1, 10, 1000]

interface Row {
  readonly what: string
  readonly 'per second': number
  readonly bytes?: number
}

function hash(text: string): EntryHash {
  return createHash('sha256').update(text).digest('hex') as EntryHash
}

/** A usual entry: one DONE range with its values in a blob. */
function body(i: number, keeper: PeerId): EntryBody {
  const result = {
    kind: 'blob' as const,
    hash: hash(`${i}`) as string as BlobHash,
    sizeBytes: 5000,
    keepers: [keeper],
  }
  const range = { lo: i, hi: i + 1, parent: ZERO_HASH, failed: 0, elapsedMs: 250, chunks: 1 }
  return { type: 'done', ranges: [{ ...range, result }] }
}

function chain(identity: Identity, session: string, length: number): Entry[] {
  const feed = { author: identity.peer, session: hash(session).slice(0, 32) as SessionId, job }
  const entries: Entry[] = []
  let prev = ZERO_HASH
  for (let seq = 1; seq <= length; seq++) {
    const entry = seal({ ...feed, seq, prev }, body(seq, identity.peer))
    entries.push(entry)
    prev = entry.hash
  }
  return entries
}

async function timed(what: string, n: number, work: () => Promise<void> | void): Promise<Row> {
  const start = performance.now()
  await work()
  return { what, 'per second': Math.round((n / (performance.now() - start)) * 1000) }
}

async function appends(store: Store, identity: Identity): Promise<Row[]> {
  const rows: Row[] = []
  for (const [size, sync] of [
    [1, true],
    [1, false],
    [100, false],
  ] as const) {
    const n = Math.min(count, sync ? 1000 : size * 5000)
    const entries = chain(identity, `append ${size} ${sync}`, n)
    const what = `append, a flush${sync ? ' with sync' : ''} every ${size}`
    rows.push(
      await timed(what, n, async () => {
        for (const [i, entry] of entries.entries()) {
          store.append(entry)
          if ((i + 1) % size === 0) await store.flush({ sync })
        }
        await store.flush()
      }),
    )
  }
  return rows
}

function runsOf(entries: readonly Entry[], size: number, identity: Identity): Run[] {
  const runs: Run[] = []
  for (let i = 0; i < entries.length; i += size) {
    const part = entries.slice(i, i + size)
    const signature = identity.sign(Buffer.from(part.at(-1)!.hash, 'hex'))
    runs.push({ entries: part.map((entry) => encodeEntry(entry, entry.body)), signature })
  }
  return runs
}

async function ingests(store: Store, identity: Identity): Promise<Row[]> {
  const rows: Row[] = []
  for (const size of RUN_SIZES) {
    const n = Math.min(count, size * 10_000)
    const runs = runsOf(chain(identity, `run of ${size}`, n), size, identity)
    const what = `ingest, runs of ${size}`
    rows.push(
      await timed(what, n, async () => {
        for (const run of runs) {
          if (store.ingest(run).status !== 'ok') throw new Error('a run was refused')
          await store.flush()
        }
      }),
    )
  }
  return rows
}

async function serves(store: Store, feed: FeedId, length: number): Promise<Row[]> {
  const whole = await timed('read runs of 256 KiB', length, async () => {
    for (let next = 1; next <= length; ) {
      next += (await store.readRun(job, feed, next, 256 * 1024))!.entries.length
    }
  })
  const one = await timed('read the last entry', 5000, async () => {
    for (let i = 0; i < 5000; i++) await store.readRun(job, feed, length, 256 * 1024)
  })
  return [whole, one]
}

async function codec(identity: Identity): Promise<Row[]> {
  const [entry] = chain(identity, 'codec', 1)
  const bytes = encodeEntry(entry!, entry!.body)
  const n = 50_000
  const repeat = (work: () => void) => () => {
    for (let i = 0; i < n; i++) work()
  }
  return [
    {
      ...(await timed(
        'encode an entry',
        n,
        repeat(() => encodeEntry(entry!, entry!.body)),
      )),
      bytes: bytes.length,
    },
    await timed(
      'decode an entry, with its hash',
      n,
      repeat(() => decodeEntry(bytes)),
    ),
    await timed(
      'seal an entry',
      n,
      repeat(() => seal(entry!, entry!.body)),
    ),
  ]
}

async function sizeOf(folder: string): Promise<number> {
  const files = await readdir(folder)
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(folder, file))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

const dir = await mkdtemp(join(tmpdir(), 'mesh-bench-'))
try {
  const identity = await loadOrCreateIdentity(join(dir, 'self'))
  const other = await loadOrCreateIdentity(join(dir, 'other'))
  const { peer: self, sign } = identity
  const level = await openStore({ dir, self, sign })
  console.table(await codec(identity))
  const rows = [...(await appends(level, identity)), ...(await ingests(level, other))]
  const longest = level.heads(job).reduce((a, b) => (a.seq > b.seq ? a : b))
  rows.push(...(await serves(level, longest, longest.seq)))
  console.table(rows)
  const held = level.heads(job).reduce((sum, head) => sum + head.seq, 0)
  await level.close()
  const bytes = await sizeOf(join(dir, 'db'))
  console.table([{ entries: held, 'bytes on disk per entry': Math.round(bytes / held) }])
  const memory = createMemoryStore({ self, sign })
  console.log('the same in memory')
  console.table(await ingests(memory, other))
} finally {
  await rm(dir, { recursive: true, force: true })
}

/**
 * Runs on a small file system of its own (disk-full.test.ts): fills it up, and says what the store does. `full-script DIR ROOM LOG PHASE`:
 * `fill` writes until nothing goes, leaves ROOM bytes of its own accord, then either makes room and goes on (`mend`), or is killed
 * (`kill`) and checked by `check`. What was acknowledged is noted in LOG, which lies on another file system.
 */
import { appendFileSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { isMeshError } from '../../../src/base/errors.ts'
import type { PeerId } from '../../../src/scheduler/types.ts'
import { jobIdOf } from '../../../src/store/entry-codec.ts'
import { openStore } from '../../../src/store/level-store.ts'
import type { Store } from '../../../src/store/types.ts'
import { FeedWriter, peerOf, specOf } from './writers.ts'

const [, , mount, room, log, phase] = process.argv as unknown as string[]
const dir = join(mount!, 'data')
const filler = join(mount!, 'filler')
const self = peerOf('self')
const job = jobIdOf(specOf('full'))
const mine = new FeedWriter(self, 'mine', job)
const theirs = new FeedWriter(peerOf('other'), 'theirs', job)

let changed: (() => void) | undefined
let stalled: unknown
const openIt = (): Promise<Store> =>
  openStore({
    dir,
    self: self.peer,
    sign: self.sign,
    writeBufferBytes: 128 * 1024,
    onStall: (error) => {
      stalled = error
      changed?.()
    },
  })
/** Resolves when the store says that the disk is full, or that it is not any more. */
const stallIs = async (full: boolean): Promise<void> => {
  while ((stalled !== undefined) !== full) {
    await new Promise<void>((resolve) => {
      changed = resolve
    })
  }
}
const note = (what: Record<string, unknown>): void =>
  appendFileSync(log!, `${JSON.stringify(what)}\n`)
const check = (condition: unknown, what: string): void => {
  if (!condition) throw new Error(`not so: ${what}`)
}

async function fillDisk(): Promise<void> {
  const file = await open(filler, 'w')
  for (const size of [65_536, 4096]) {
    try {
      for (;;) writeSync(file.fd, Buffer.alloc(size, 1))
    } catch (error) {
      check((error as { code?: string }).code === 'ENOSPC', String(error))
    }
  }
  const { size } = await file.stat()
  await file.truncate(Math.max(0, size - Number(room)))
  await file.close()
}

let acknowledged = [0, 0]
/** Stages a batch of both kinds; notes it once it is written. */
function batch(store: Store): Promise<void> {
  const reason = 'x'.repeat(900)
  for (let i = 0; i < 5; i++) store.append(mine.next({ type: 'cancel', reason }))
  // What was not taken in while the disk was full is sent again.
  const from = (store.head(job, theirs.feed)?.seq ?? 0) + 1
  for (let i = 0; i < 5; i++) theirs.next({ type: 'cancel', reason })
  const result = store.ingest(theirs.run(from))
  check(result.status === 'ok', `ingest: ${result.status}`)
  const counts = [mine.entries.length, store.head(job, theirs.feed)?.seq ?? 0]
  return store.flush().then(() => {
    acknowledged = counts
    note({ acknowledged })
  })
}

async function count(store: Store, author: PeerId): Promise<number> {
  let entries = 0
  for await (const entry of store.entries(job)) if (entry.author === author) entries++
  return entries
}

/** What could not be written, as a function: an async one would wait for a promise that it returns. */
async function writeUntilFull(store: Store): Promise<() => Promise<void>> {
  for (;;) {
    const written = batch(store)
    const full = stallIs(true).then(() => true)
    if (await Promise.race([full, written.then(() => false)])) return () => written
  }
}

async function whileFull(store: Store): Promise<void> {
  check(isMeshError(stalled, 'ERR_MESH_DISK_FULL'), 'the stall says that the disk is full')
  // All that was acknowledged can be read and served; nothing is taken in.
  check((await count(store, self.peer)) >= acknowledged[0]!, 'own entries can be read')
  let next = 1
  while (next <= acknowledged[0]!) {
    next += (await store.readRun(job, mine.feed, next, 100_000))!.entries.length
  }
  const foreign = new FeedWriter(peerOf('third'), 'third', job).many(3)
  const result = store.ingest(foreign.run())
  check(result.status === 'ok' && result.entries.length === 0, 'a run is taken for known')
  check(store.head(job, foreign.feed) === undefined, 'and not held')
  const blob = await store.blobs.put(Buffer.alloc(2e6, 3)).catch((error: unknown) => error)
  check(isMeshError(blob, 'ERR_MESH_DISK_FULL'), `a blob is refused: ${String(blob)}`)
}

async function fill(): Promise<void> {
  const store = await openIt()
  for (let i = 0; i < 40; i++) await batch(store)
  await store.blobs.put(Buffer.from('small'))
  await fillDisk()
  const pending = await writeUntilFull(store)
  await whileFull(store)
  if (phase === 'kill') process.kill(process.pid, 'SIGKILL')
  // Staged while it is full: written when there is room.
  const more = [batch(store), batch(store)]
  rmSync(filler)
  await stallIs(false)
  await Promise.all([pending(), ...more])
  for (let i = 0; i < 40; i++) await batch(store)
  await store.collectJob(jobIdOf(specOf('none')))
  await store.close()
  await verify()
}

async function verify(): Promise<void> {
  const lines = readFileSync(log!, 'utf8').trim().split('\n')
  const [own, other] = (JSON.parse(lines.at(-1)!) as { acknowledged: number[] }).acknowledged
  const store = await openIt()
  check(store.repair === undefined, `no repair: ${store.repair?.reason}`)
  check((await count(store, self.peer)) >= own!, `${own} own entries`)
  check((await count(store, theirs.feed.author)) >= other!, `${other} entries of others`)
  for (const head of store.heads(job)) {
    check(
      (await count(store, head.author)) === head.seq,
      `head and entries of ${head.author.slice(0, 4)} agree`,
    )
  }
  await store.close()
}

if (phase === 'check') {
  // Still full: either it opens, or it says why not.
  const error = await openIt().then(
    (store) => store.close().catch((reason: unknown) => reason),
    (reason: unknown) => reason,
  )
  check(error === undefined || isMeshError(error, 'ERR_MESH_DISK_FULL'), `opens, or: ${error}`)
  rmSync(filler)
  await verify()
} else {
  await fill()
}
process.stdout.write('done\n')

/**
 * Writes all that a store takes, and says on a line of its own what was acknowledged, until it is killed: `writer-script DIR SESSION`.
 * A small memory table makes LevelDB write tables and merge them all the time.
 */
import { createHash } from 'node:crypto'
import { jobIdOf } from '../../../src/store/entry-codec.ts'
import { openStore } from '../../../src/store/level-store.ts'
import type { Acknowledged } from './kill-rounds.ts'
import { FeedWriter, peerOf, specOf } from './writers.ts'

const [, , dir, session] = process.argv as unknown as string[]
const self = peerOf('self')
const spec = specOf('kill')
const job = jobIdOf(spec)
const store = await openStore({
  dir: dir!,
  self: self.peer,
  sign: self.sign,
  writeBufferBytes: 64 * 1024,
})
const mine = new FeedWriter(self, session!, job)
const theirs = new FeedWriter(peerOf('other'), session!, job)
const opening = new FeedWriter(peerOf('submitter'), 'submitter', job)
opening.next({ type: 'job', spec, at: 1, seeds: [] })
store.ingest(opening.run())

const say = (what: Acknowledged): void => void process.stdout.write(`${JSON.stringify(what)}\n`)

async function writeBlobs(round: number): Promise<void> {
  const bytes = Buffer.alloc(1000 + ((round * 7919) % 300_000), `${session} ${round}`)
  const hash = createHash('sha256').update(bytes).digest('hex')
  const { blobs } = store
  if (round % 2 === 0) await blobs.put(bytes)
  else
    await blobs.write(
      (async function* () {
        for (let at = 0; at < bytes.length; at += 50_000) yield bytes.subarray(at, at + 50_000)
      })(),
    )
  say({ blob: hash })
}

/** A job that comes, ends and is collected. */
async function passJob(round: number): Promise<void> {
  const name = `${session} ${round}`
  const past = new FeedWriter(peerOf('other'), name, jobIdOf(specOf(name)))
  past.next({ type: 'job', spec: specOf(name), at: 1, seeds: [] })
  store.ingest(past.many(50).run())
  await store.flush()
  await store.collectJob(jobIdOf(specOf(name)))
  say({ collected: jobIdOf(specOf(name)) })
}

async function writeEntries(round: number): Promise<void> {
  for (let i = 0; i <= round % 50; i++) store.append(mine.next())
  const from = theirs.entries.length + 1
  const result = store.ingest(theirs.many(1 + (round % 7)).run(from))
  if (result.status !== 'ok') throw new Error(`ingest: ${result.status}`)
  const n = mine.entries.length
  const span = { lo: 0, hi: n, epoch: 0, hop: 0, hash: mine.entries[n - 1]!.hash }
  const ownersPut = [{ ...span, owner: mine.feed.session }]
  store.stageView({ job, ownersRemoved: [], ownersPut, doneRemoved: [], donePut: [] })
  await store.flush()
  say({ appended: n, ingested: theirs.entries.length })
}

const forever = async (work: (round: number) => Promise<void>): Promise<void> => {
  for (let round = 0; ; round++) await work(round)
}
await Promise.all([forever(writeEntries), forever(writeBlobs), forever(passJob)])

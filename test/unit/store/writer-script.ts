/**
 * Appends to its own feed and takes in another's, and says what was acknowledged: one line `session appended ingested` after each
 * flush, until it is killed.
 */
import { jobIdOf } from '../../../src/store/entry-codec.ts'
import { openStore } from '../../../src/store/level-store.ts'
import { FeedWriter, peerOf, specOf } from './writers.ts'

const [, , dir, session] = process.argv
const self = peerOf('self')
const job = jobIdOf(specOf('kill'))
const store = await openStore({ dir: dir!, self: self.peer, sign: self.sign })
const mine = new FeedWriter(self, session!, job)
const theirs = new FeedWriter(peerOf('other'), session!, job)
for (let round = 0; ; round++) {
  for (let i = 0; i <= round % 50; i++) store.append(mine.next())
  const from = theirs.entries.length + 1
  const result = store.ingest(theirs.many(1 + (round % 7)).run(from))
  if (result.status !== 'ok') throw new Error(`ingest: ${result.status}`)
  const n = mine.entries.length
  const span = { lo: 0, hi: n, epoch: 0, hop: 0, hash: mine.entries[n - 1]!.hash }
  const ownersPut = [{ ...span, owner: mine.feed.session }]
  store.stageView({ job, ownersRemoved: [], ownersPut, doneRemoved: [], donePut: [] })
  await store.flush()
  process.stdout.write(`${session} ${n} ${theirs.entries.length}\n`)
}

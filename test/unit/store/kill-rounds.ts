import { expect } from 'vitest'
import type { BlobHash, JobId } from '../../../src/scheduler/types.ts'
import { jobIdOf } from '../../../src/store/entry-codec.ts'
import { openStore } from '../../../src/store/level-store.ts'
import type { Store } from '../../../src/store/types.ts'
import { type Child, startChild } from './child.ts'
import { collect, peerOf, sessionOf, specOf, type TestPeer, tempDir } from './fixtures.ts'

/** A line of writer-script.ts. */
export type Acknowledged =
  | { readonly appended: number; readonly ingested: number }
  | { readonly blob: string }
  | { readonly collected: string }

const self = peerOf('self')
const job = jobIdOf(specOf('kill'))

/** What all processes so far were told is kept. */
interface Promised {
  readonly feeds: Map<string, { appended: number; ingested: number }>
  readonly blobs: Set<string>
  readonly collected: Set<string>
}

export interface KillCounts {
  readonly rounds: number
  readonly entries: number
  readonly blobs: number
  readonly collected: number
}

/**
 * Starts a process that writes, kills it after some acknowledgements (another number each round), and looks whether all that it had
 * acknowledged is there, whole, without a repair: so many times on one folder.
 */
export async function killRounds(script: string, rounds: number): Promise<KillCounts> {
  const dir = await tempDir()
  const promised: Promised = { feeds: new Map(), blobs: new Set(), collected: new Set() }
  for (let round = 0; round < rounds; round++) {
    const child = startChild(script, dir, `session ${round}`)
    await killAfter(child, 20 + ((37 * round) % 211), `session ${round}`, promised)
    const store = await openStore({ dir, self: self.peer, sign: self.sign })
    expect(store.repair, `round ${round}`).toBeUndefined()
    await checkFeeds(store, promised)
    await checkBlobs(store, promised)
    await checkCollected(store, promised)
    await store.close()
  }
  const totals = [...promised.feeds.values()]
  return {
    rounds,
    entries: totals.reduce((sum, each) => sum + each.appended + each.ingested, 0),
    blobs: promised.blobs.size,
    collected: promised.collected.size,
  }
}

async function killAfter(
  child: Child,
  lines: number,
  session: string,
  promised: Promised,
): Promise<void> {
  const told: string[] = []
  for (let i = 0; i < lines; i++) told.push((await child.line())!)
  const killed = child.kill()
  told.push(...(await child.rest()))
  await killed
  for (const line of told) {
    const what = parse(line)
    if (what === undefined) continue
    if ('blob' in what) promised.blobs.add(what.blob)
    else if ('collected' in what) promised.collected.add(what.collected)
    else promised.feeds.set(session, what)
  }
}

/** The last line may be cut off with its process. */
function parse(line: string): Acknowledged | undefined {
  try {
    return JSON.parse(line) as Acknowledged
  } catch {
    return undefined
  }
}

async function checkFeeds(store: Store, { feeds }: Promised): Promise<void> {
  for (const [session, { appended, ingested }] of feeds) {
    const headOf = (who: TestPeer) =>
      store.head(job, { author: who.peer, session: sessionOf(session, who) })
    const own = headOf(self)
    const other = headOf(peerOf('other'))
    expect(own!.seq).toBeGreaterThanOrEqual(appended)
    expect(other!.seq).toBeGreaterThanOrEqual(ingested)
    // All of it can be served: it ends signed.
    let next = 1
    while (next <= own!.seq) {
      next += (await store.readRun(job, own!, next, 65_536))!.entries.length
    }
    expect(next).toBe(own!.seq + 1)
  }
  // A batch is whole: the view was written with the entries that it tells of.
  const [span] = await collect(store.ownerSpans(job))
  const mine = store.head(job, { author: self.peer, session: span!.owner })
  expect(mine).toMatchObject({ seq: span!.hi, hash: span!.hash })
}

/** What was acknowledged is there, and what has a name is whole. */
async function checkBlobs(store: Store, { blobs }: Promised): Promise<void> {
  const left = new Set(blobs)
  for await (const { hash } of store.blobs.list()) {
    left.delete(hash)
    await store.blobs.get(hash)
  }
  expect([...left]).toEqual([])
  // Room for the next rounds.
  for (const hash of blobs) if (blobs.size > 500) await forget(store, hash as BlobHash, blobs)
}

async function forget(store: Store, hash: BlobHash, blobs: Set<string>): Promise<void> {
  await store.blobs.delete(hash)
  blobs.delete(hash)
}

async function checkCollected(store: Store, { collected }: Promised): Promise<void> {
  for (const each of collected) {
    expect(store.isCollected(each as JobId)).toBe(true)
    expect(await collect(store.entries(each as JobId))).toEqual([])
  }
}

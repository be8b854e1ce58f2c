import { NOBODY } from '../../../src/scheduler/rules.ts'
import type { Entry, EntryHash, SessionId } from '../../../src/scheduler/types.ts'
import { Feed, factsOf } from './builders.ts'

const ITEMS = 24
const NAMES = ['a', 'b', 'c', 'd']

/** A claim of an entry that grants may be made out of. */
interface Root {
  readonly entry: Entry
  readonly lo: number
  readonly hi: number
  readonly owner: SessionId
  readonly epoch: number
  readonly hop: number
}

/**
 * A log of one job that honest and lying sessions may have written: each number decides one entry. Most keep the rules; some grant
 * what they do not own, skip hops, reclaim with a wild epoch, name parents that do not exist, or reach beyond the job.
 */
export function randomHistory(choices: readonly number[]): Entry[] {
  const feeds = NAMES.map((name) => new Feed(factsOf(name)))
  const entries: Entry[] = []
  const roots: Root[] = []
  const dones: Entry[] = []
  const author = feeds[0]!
  const seeds = [
    { lo: 0, hi: 8, to: feeds[0]!.facts.session },
    { lo: 8, hi: 16, to: feeds[1]!.facts.session },
  ]
  const controllers = feeds.slice(0, 3).map(({ facts }) => facts.peer)
  const job = author.job(ITEMS, seeds, { controllers })
  entries.push(job)
  for (const { lo, hi, to } of seeds)
    roots.push({ entry: job, lo, hi, owner: to, epoch: 0, hop: 0 })
  roots.push({ entry: job, lo: 16, hi: ITEMS, owner: author.facts.session, epoch: 0, hop: 0 })

  for (const choice of choices) {
    const pick = (n: number, salt: number) => Math.floor(choice / (salt * 7 + 1)) % n
    const root = roots[pick(roots.length, 1)]!
    const honest = pick(10, 2) > 1
    const owner = feeds.find(({ facts }) => facts.session === root.owner)
    const feed = honest && owner !== undefined ? owner : feeds[pick(feeds.length, 3)]!
    const to = feeds[pick(feeds.length, 4)]!.facts.session
    const lo = honest ? root.lo + pick(root.hi - root.lo, 5) : pick(ITEMS, 5)
    const most = honest ? root.hi : ITEMS + 1
    const hi = Math.min(most, lo + 1 + pick(8, 6))
    const { epoch } = root
    const hop = root.hop + (honest ? 1 : pick(3, 7))
    const parent = honest || pick(2, 8) === 0 ? root.entry : unknownParent(choice)
    const kind = pick(14, 0)
    const add = (entry: Entry) => {
      entries.push(entry)
      return entry
    }
    if (kind < 4) {
      const entry = add(feed.grant(lo, hi, parent, to, epoch, hop))
      roots.push({ entry, lo, hi, owner: to, epoch, hop })
    } else if (kind < 5) {
      const entry = add(feed.release(lo, hi, parent, epoch, hop))
      roots.push({ entry, lo, hi, owner: NOBODY, epoch, hop })
    } else if (kind < 7) {
      const next = honest ? epoch + 1 : pick(4, 9)
      const entry = add(feed.reclaim(lo, hi, parent, next))
      roots.push({ entry, lo, hi, owner: feed.facts.session, epoch: next, hop: 0 })
    } else if (kind < 10) {
      dones.push(add(feed.done(lo, hi, parent, pick(2, 10))))
    } else if (kind < 11) {
      add(feed.write({ type: 'fail', ranges: [{ lo, hi, code: 'E', message: '' }] }))
    } else if (kind < 12 && dones.length > 0) {
      const done = dones[pick(dones.length, 11)]!.hash
      add(feed.write({ type: 'lost', ranges: [{ lo, hi, done }] }))
    } else if (kind < 13) {
      const types = ['pause', 'resume', 'pause', 'cancel'] as const
      const type = types[pick(types.length, 12)]!
      const pauses = entries
        .filter(({ body }, i) => body.type === 'pause' && pick(3, 16 + i) > 0)
        .map(({ hash }) => hash)
      if (type === 'cancel') add(feed.write({ type, reason: '' }))
      else add(feed.write(type === 'pause' ? { type } : { type, pauses }))
    } else {
      const cut = `${NAMES[pick(NAMES.length, 13)]} ${2 + pick(12, 14)}`
      const first = new TextEncoder().encode(pick(6, 15) === 0 ? cut : 'nobody 1')
      add(feed.write({ type: 'fork', first, second: first }))
    }
  }
  return entries
}

function unknownParent(choice: number): Entry {
  return { hash: choice.toString(16).padStart(64, '0') as EntryHash } as Entry
}

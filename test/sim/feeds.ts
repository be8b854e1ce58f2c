import type { Entry, JobId, PeerId, SessionId } from '../../src/scheduler/types.ts'

/** The truth about one feed: what its author ever wrote. Peers hold prefixes of it, and share its entries. */
export interface Feed {
  readonly index: number
  readonly author: PeerId
  readonly session: SessionId
  readonly job: JobId
  readonly entries: Entry[]
  /** A forked feed: what the other half of the mesh is told, from `from` (a seq) on. Its entries begin with the common ones. */
  twin: { readonly feed: Feed; readonly from: number } | undefined
  /** Of a twin: the feed that it forks. */
  readonly trunk: Feed | undefined
}

/** Entries from+1 .. upTo of a feed, as a message carries them. */
export interface FeedRun {
  readonly feed: Feed
  readonly from: number
  readonly upTo: number
}

/** Every feed of the simulated mesh. */
export class FeedBook {
  readonly all: Feed[] = []
  private readonly byKey = new Map<string, Feed>()
  private readonly byJob = new Map<JobId, Feed[]>()

  jobs(): JobId[] {
    return [...this.byJob.keys()]
  }

  ofJob(job: JobId): readonly Feed[] {
    return this.byJob.get(job) ?? []
  }

  of(author: PeerId, session: SessionId, job: JobId): Feed {
    const key = `${session}|${job}`
    const known = this.byKey.get(key)
    if (known !== undefined) return known
    const feed = this.make(author, session, job, undefined, [])
    this.byKey.set(key, feed)
    const list = this.byJob.get(job)
    if (list === undefined) this.byJob.set(job, [feed])
    else list.push(feed)
    return feed
  }

  /** The feeds that begin with the JOB. */
  openings(job: JobId): readonly Feed[] {
    return this.ofJob(job).filter((feed) => feed.entries[0]?.body.type === 'job')
  }

  /** Forks a feed after its first `keep` entries. */
  fork(feed: Feed, keep: number): Feed {
    const twin = this.make(feed.author, feed.session, feed.job, feed, feed.entries.slice(0, keep))
    feed.twin = { feed: twin, from: keep + 1 }
    return twin
  }

  /** Every entry that was ever written, both sides of a fork. */
  *entries(job: JobId): IterableIterator<Entry> {
    for (const feed of this.ofJob(job)) {
      yield* feed.entries
      if (feed.twin !== undefined) yield* feed.twin.feed.entries.slice(feed.twin.from - 1)
    }
  }

  private make(
    author: PeerId,
    session: SessionId,
    job: JobId,
    trunk: Feed | undefined,
    entries: Entry[],
  ): Feed {
    const index = trunk === undefined ? this.all.length : trunk.index
    const feed: Feed = { index, author, session, job, entries, twin: undefined, trunk }
    if (trunk === undefined) this.all.push(feed)
    return feed
  }
}

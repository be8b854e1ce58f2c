import type { PeerId, SessionId } from '../../src/scheduler/types.ts'
import type { Byzantine } from './faults.ts'
import type { Feed } from './feeds.ts'
import type { Process } from './process.ts'

/** What a peer's folder holds: it outlives its processes. */
export interface Folder {
  /** Entries held of each feed, by the feed's index. */
  have: Map<number, number>
  /** Which side of a forked feed is held; absent: the trunk. */
  branches: Map<Feed, Feed>
  /** Feeds that are cut, since both sides were seen. */
  cuts: Set<Feed>
  sessionNumber: number
  /** Earlier sessions, by the folder's own record. */
  sessions: SessionId[]
}

export interface HostFacts {
  readonly index: number
  readonly id: PeerId
  readonly slots: number
  /** Real speed of a slot, and what a short spin at start makes of it. */
  readonly speed: number
  readonly advertisedSpeed: number
  readonly byzantine: Byzantine | undefined
  /** Its clock's rate, and what it shows at virtual time 0. */
  readonly clockRate: number
  readonly clockOffset: number
}

/** One machine: a folder, a clock, and now and then a process. */
export class Host {
  readonly facts: HostFacts
  folder: Folder = {
    have: new Map(),
    branches: new Map(),
    cuts: new Set(),
    sessionNumber: 0,
    sessions: [],
  }
  /** Old copies of the folder, newest last, with their time. */
  readonly backups: { readonly at: number; readonly folder: Folder }[] = []
  process: Process | undefined
  /** A machine without power answers no dial. */
  powered = true
  /** It takes part at some time, or again. */
  expected = true
  /** In a large mesh: what everybody has of each feed. */
  common: readonly number[] = []
  /** What the clock shows at virtual time 0, moved when the machine sleeps. */
  clockOffset: number

  constructor(facts: HostFacts) {
    this.facts = facts
    this.clockOffset = facts.clockOffset
  }

  get index(): number {
    return this.facts.index
  }

  get id(): PeerId {
    return this.facts.id
  }

  get honest(): boolean {
    return this.facts.byzantine === undefined
  }

  /** Running and not stopped. */
  get awake(): boolean {
    return this.process !== undefined && !this.process.stopped
  }

  localTime(virtual: number): number {
    return this.clockOffset + virtual * this.facts.clockRate
  }

  virtualTime(local: number): number {
    return (local - this.clockOffset) / this.facts.clockRate
  }

  held(feed: Feed): number {
    return Math.max(this.folder.have.get(feed.index) ?? 0, this.common[feed.index] ?? 0)
  }

  /** The side of a feed that this folder has. */
  side(trunk: Feed): Feed {
    return trunk.twin === undefined ? trunk : (this.folder.branches.get(trunk) ?? trunk)
  }

  backUp(at: number): void {
    this.backups.push({ at, folder: copyFolder(this.folder) })
  }
}

export function copyFolder(folder: Folder): Folder {
  return {
    have: new Map(folder.have),
    branches: new Map(folder.branches),
    cuts: new Set(folder.cuts),
    sessionNumber: folder.sessionNumber,
    sessions: [...folder.sessions],
  }
}

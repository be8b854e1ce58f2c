/** What can go wrong, as data. Times are ms of virtual time, shares are of 1. */

export interface NetworkFaults {
  /** One-way latency, drawn anew for each message. */
  readonly latencyMs: readonly [number, number]
  /** Share of messages that never arrive. What they carried comes by gossip, on a gap, or with the next exchange of version vectors. */
  readonly loss: number
  /** Share of messages that come twice. */
  readonly duplication: number
  /** Share of messages that take ten times as long: those sent later overtake them. */
  readonly reordering: number
  /** Share of messages into a partition that come after it heals, when the connection outlives it: late answers. */
  readonly heldShare: number
}

/** Messages from a peer of `from` to one of `to` are lost; `bothWays`: also back. Peers by index. */
export interface Partition {
  readonly startMs: number
  readonly endMs: number
  readonly from: readonly number[]
  readonly to: readonly number[]
  readonly bothWays: boolean
}

/** The process is stopped and goes on; nothing is handled meanwhile. */
export interface Pause {
  readonly peer: number
  readonly startMs: number
  readonly endMs: number
  /** The machine slept: its monotonic clock stood still as well. */
  readonly clockStands: boolean
}

/** kill -9, or power cut. */
export interface Crash {
  readonly peer: number
  readonly atMs: number
  /** undefined: for good. */
  readonly restartMs: number | undefined
  /** Power, not the process: nobody answers a dial, and what was not synced yet (20 ms) is gone, though it may have been sent. */
  readonly power: boolean
  /** It starts on a copy of its folder that is older than the last state by so much. */
  readonly folderAgeMs: number
}

/** Ctrl-C: hands on what it has not started, and goes. */
export interface Leave {
  readonly peer: number
  readonly atMs: number
  readonly returnMs: number | undefined
}

/** The disk is full for a while: it takes no work. */
export interface FullDisk {
  readonly peer: number
  readonly startMs: number
  readonly endMs: number
}

/** A peer that was not there at the start. */
export interface Join {
  readonly peer: number
  readonly atMs: number
}

export type Mischief =
  /** GRANT, DONE, RECLAIM out of foreign or invented parents, huge epochs, ranges beyond the job, made-up FORKs. */
  | 'forger'
  /** RECLAIMs and steals all that it can, answers, and does nothing. */
  | 'hoarder'
  /** Tells two halves of the mesh two stories. */
  | 'forker'
  /** Says again what it said, and what others said; suspects everyone. */
  | 'replayer'
  /** Runs whose signature does not hold, in between good ones. */
  | 'scribbler'

export interface Byzantine {
  readonly peer: number
  readonly kinds: readonly Mischief[]
  /** Between two deeds, ms. */
  readonly everyMs: number
}

/** What a person does to the job at some peer, if it runs then. */
export interface Control {
  readonly peer: number
  readonly atMs: number
  readonly op: 'cancel' | 'pause' | 'resume'
}

export interface Faults {
  readonly network: NetworkFaults
  readonly partitions: readonly Partition[]
  readonly pauses: readonly Pause[]
  readonly crashes: readonly Crash[]
  readonly leaves: readonly Leave[]
  readonly fullDisks: readonly FullDisk[]
  readonly joins: readonly Join[]
  readonly byzantine: readonly Byzantine[]
  readonly controls: readonly Control[]
  /** Clocks run at rates within 1 ± this, and begin anywhere. */
  readonly drift: number
  /** From staging an entry to its being written, ms; 0: at once. */
  readonly writeMs: number
  /** Everything is well from here on: partitions heal, stopped peers go on, who is to come back is there, byzantine peers are gone. */
  readonly healMs: number
}

export const WIDE_AREA: NetworkFaults = {
  latencyMs: [20, 200],
  loss: 0.01,
  duplication: 0,
  reordering: 0,
  heldShare: 0,
}

export const LOCAL_AREA: NetworkFaults = {
  latencyMs: [0.1, 0.5],
  loss: 0,
  duplication: 0,
  reordering: 0,
  heldShare: 0,
}

export const NO_FAULTS: Faults = {
  network: WIDE_AREA,
  partitions: [],
  pauses: [],
  crashes: [],
  leaves: [],
  fullDisks: [],
  joins: [],
  byzantine: [],
  controls: [],
  drift: 0,
  writeMs: 0,
  healMs: 0,
}

/** Nothing but the network's delay and loss disturbs the run: nobody is to be declared dead, and no item runs twice. */
export function isCalm(faults: Faults): boolean {
  return (
    isLawful(faults) &&
    faults.partitions.length + faults.pauses.length === 0 &&
    faults.crashes.length + faults.leaves.length + faults.fullDisks.length === 0
  )
}

/** Everybody keeps to the protocol. */
export function isLawful(faults: Faults): boolean {
  return faults.byzantine.length === 0
}

import type { Bounds, Layout } from './bounds.ts'

/** A peer: gone for good, down (it may start again), or up. */
export const GONE = 0
export const DOWN = 1
export const UP = 2

/** What happened so far, as far as it bounds what may happen. */
const COUNTERS = ['grants', 'releases', 'crashes', 'restarts', 'suspicions', 'forks'] as const
export type Counter = (typeof COUNTERS)[number]

/** Starts that are left to an item: 1 + RECLAIMs - starts. More than this many cannot be told apart, so no more are made. */
export const MAX_SLACK = 15

/**
 * One world as a row of 32-bit numbers: of each peer what it is doing and its view, then what each item may still be started, then the
 * counters. What no later event can tell apart is not in it: entries that nobody holds, the order of what happened.
 */
export class WorldShape {
  readonly stride: number
  private readonly peers: number
  private readonly limits: Bounds

  constructor(bounds: Bounds, layout: Layout) {
    this.peers = layout.peers
    this.limits = bounds
    this.stride = 2 * layout.peers + 2
  }

  // ------------------------------------------------------------ peers

  status(row: Int32Array, peer: number): number {
    return row[2 * peer]! & 3
  }

  /** Which of its starts this is, from 0. */
  sessionNumber(row: Int32Array, peer: number): number {
    return (row[2 * peer]! >>> 2) & 7
  }

  /** The chunk that it runs; 0: none. */
  busy(row: Int32Array, peer: number): number {
    return row[2 * peer]! >>> 5
  }

  view(row: Int32Array, peer: number): number {
    return row[2 * peer + 1]!
  }

  setPeer(row: Int32Array, peer: number, status: number, number: number, busy: number): void {
    row[2 * peer] = status | (number << 2) | (busy << 5)
  }

  setBusy(row: Int32Array, peer: number, busy: number): void {
    row[2 * peer] = (row[2 * peer]! & 31) | (busy << 5)
  }

  setView(row: Int32Array, peer: number, view: number): void {
    row[2 * peer + 1] = view
  }

  // ------------------------------------------------------------ items

  slack(row: Int32Array, item: number): number {
    return (row[2 * this.peers]! >>> (4 * item)) & 15
  }

  setSlack(row: Int32Array, item: number, slack: number): void {
    const at = 2 * this.peers
    row[at] = (row[at]! & ~(15 << (4 * item))) | (slack << (4 * item))
  }

  // ------------------------------------------------------------ counters

  count(row: Int32Array, counter: Counter): number {
    return (row[2 * this.peers + 1]! >>> (3 * COUNTERS.indexOf(counter))) & 7
  }

  mayStill(row: Int32Array, counter: Counter): boolean {
    return this.count(row, counter) < this.limits[counter]
  }

  add(row: Int32Array, counter: Counter): void {
    row[2 * this.peers + 1]! += 1 << (3 * COUNTERS.indexOf(counter))
  }

  /** Whether something was reclaimed. */
  reclaimed(row: Int32Array): boolean {
    return ((row[2 * this.peers + 1]! >>> 18) & 1) === 1
  }

  setReclaimed(row: Int32Array): void {
    row[2 * this.peers + 1]! |= 1 << 18
  }

  /** Bit p: peer p wrote two entries with one seq. */
  forkers(row: Int32Array): number {
    return (row[2 * this.peers + 1]! >>> 19) & 31
  }

  addForker(row: Int32Array, peer: number): void {
    row[2 * this.peers + 1]! |= 1 << (19 + peer)
  }
}

import type { ActionBug, Bounds, FoldBug } from './bounds.ts'
import type { Invariant } from './context.ts'

/** A bug planted in the model or in the fold, where the search looks for it, and what it must report: this and nothing else. */
export interface Planted {
  readonly name: string
  readonly actionBugs?: readonly ActionBug[]
  readonly foldBugs?: readonly FoldBug[]
  readonly bounds: Partial<Bounds>
  readonly breaks: readonly Invariant[]
  /** A longest story of the first breach, in steps. */
  readonly steps: number
}

export const PLANTED: readonly Planted[] = [
  {
    name: 'a granter keeps running what it granted',
    actionBugs: ['keepsGranted'],
    bounds: { peers: 2, items: 2, grants: 1 },
    breaks: ['I4'],
    steps: 5,
  },
  {
    name: 'a GRANT is sent before it is written, and is lost: its seq is used again, its items run twice',
    actionBugs: ['sendsUnwritten'],
    bounds: { peers: 2, items: 2, grants: 1 },
    breaks: ['I9', 'I4'],
    steps: 3,
  },
  {
    name: 'a RECLAIM has its parent’s epoch: the others accuse its author',
    actionBugs: ['sameEpoch'],
    bounds: { peers: 2, items: 2, grants: 1, crashes: 1, jobEverywhere: true },
    breaks: ['I5'],
    steps: 2,
  },
  {
    name: 'a RECLAIM has its parent’s epoch and all agree that it may: the GRANT still wins',
    actionBugs: ['sameEpoch'],
    foldBugs: ['anyEpoch'],
    bounds: { peers: 2, items: 1, grants: 1, crashes: 1 },
    breaks: ['I6'],
    steps: 5,
  },
  {
    name: 'a RECLAIM leaps an epoch',
    actionBugs: ['leapsEpoch'],
    bounds: { peers: 2, items: 1, crashes: 1, jobEverywhere: true },
    breaks: ['I5'],
    steps: 2,
  },
  {
    name: 'a RECLAIM names more items than its parent covers',
    actionBugs: ['overreaches'],
    bounds: { peers: 2, items: 2, grants: 1, crashes: 1 },
    breaks: ['I5'],
    steps: 5,
  },
  {
    name: 'a peer that starts again goes on writing its old feed, whole as it was',
    actionBugs: ['continuesFeed'],
    bounds: { peers: 2, items: 2, crashes: 1, restarts: 1 },
    breaks: ['I7'],
    steps: 4,
  },
  {
    name: 'a peer that starts again goes on writing its old feed, of which it lost the end',
    actionBugs: ['continuesFeed'],
    bounds: { peers: 2, items: 2, grants: 1, crashes: 1, restarts: 1, tail: 'any' },
    breaks: ['I7', 'I9'],
    steps: 7,
  },
  {
    name: 'a peer that starts again runs what its predecessor held, without a RECLAIM',
    actionBugs: ['silentTakeover'],
    bounds: { peers: 2, items: 2, crashes: 1, restarts: 1 },
    breaks: ['I7', 'I5'],
    steps: 5,
  },
  {
    name: 'nobody reclaims from the dead',
    actionBugs: ['neverReclaims'],
    bounds: { peers: 2, items: 2, seeds: [[1, 2, 1]], crashes: 1 },
    breaks: ['I6'],
    steps: 2,
  },
  {
    name: 'nobody reclaims what was released',
    actionBugs: ['forgetsReleased'],
    bounds: { peers: 2, items: 2, releases: 1 },
    breaks: ['I6'],
    steps: 2,
  },
  {
    name: 'a RECLAIM names an owner whose chain a fork has cut, not the last one that leads back to the JOB',
    actionBugs: ['namesUnrooted'],
    bounds: { peers: 3, items: 1, grants: 1, crashes: 1, forks: 1, jobEverywhere: true },
    breaks: ['I6'],
    steps: 14,
  },
  {
    name: 'DONE makes nothing final',
    foldBugs: ['doneIgnored'],
    bounds: { peers: 2, items: 1, grants: 1 },
    breaks: ['I4'],
    steps: 3,
  },
  {
    name: 'DONE counts only while its author is the owner',
    foldBugs: ['doneOfOwnerOnly'],
    bounds: { peers: 2, items: 1, suspicions: 1 },
    breaks: ['I2'],
    steps: 5,
  },
  {
    name: 'the owner is who was named last',
    foldBugs: ['lastWritten'],
    bounds: { peers: 2, items: 2, grants: 1 },
    breaks: ['I1'],
    steps: 1,
  },
]

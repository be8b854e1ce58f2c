import { drawControlOptions, drawControls } from './control.ts'
import {
  type Byzantine,
  type Crash,
  type Faults,
  type FullDisk,
  type Join,
  type Leave,
  LOCAL_AREA,
  type Mischief,
  type NetworkFaults,
  NO_FAULTS,
  type Partition,
  type Pause,
  WIDE_AREA,
} from './faults.ts'
import { Prng } from './prng.ts'
import type { SimOptions } from './world.ts'

/** Kinds of faults that a random scenario may be drawn from. */
export const FAULT_KINDS = [
  'network',
  'partition',
  'pause',
  'crash',
  'power',
  'old-folder',
  'leave',
  'disk',
  'join',
  'drift',
  'byzantine',
  'control',
] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

export interface Scenario {
  readonly options: Partial<SimOptions>
  readonly faults: Faults
}

const MISCHIEFS: readonly Mischief[] = ['forger', 'hoarder', 'forker', 'replayer', 'scribbler']

/** A small scenario, all of it drawn from the seed. */
export function drawScenario(
  seed: number,
  kinds: ReadonlySet<FaultKind>,
  fixed: Partial<SimOptions> = {},
): Scenario {
  const prng = new Prng(seed * 2654435761 + 17)
  const options = { ...drawOptions(seed, prng), ...fixed }
  const horizonMs = options.submitMs + options.idealSeconds * prng.between(600, 2_500)
  const faults = drawFaults(prng, kinds, options, horizonMs)
  if (!kinds.has('control')) return { options, faults }
  return drawControl(seed, options, faults, horizonMs)
}

/** Beside all else what people do to the job, and ask for; by draws of its own, so that the rest of a seed stays what it was. */
function drawControl(
  seed: number,
  options: ReturnType<typeof drawOptions>,
  faults: Faults,
  horizonMs: number,
): Scenario {
  const prng = new Prng(seed * 40503 + 29)
  if (prng.chance(0.4)) return { options, faults }
  const { items = 1, idealSeconds, peers } = options
  return {
    options: {
      ...options,
      control: drawControlOptions(prng, items, idealSeconds),
      guarded: prng.chance(0.3),
      throwEvery: prng.chance(0.3) ? 1 + prng.int(items) : undefined,
    },
    faults: { ...faults, controls: drawControls(prng, peers, horizonMs) },
  }
}

function drawOptions(
  seed: number,
  prng: Prng,
): Partial<SimOptions> & Pick<SimOptions, 'peers' | 'submitMs' | 'idealSeconds' | 'authorSlots'> {
  const items = Math.ceil(Math.exp(prng.between(0, Math.log(3_000))))
  return {
    seed,
    peers: 2 + prng.int(11),
    items,
    idealSeconds: prng.between(1, 12),
    spread: prng.between(1, 10),
    slots: 1 + prng.int(3),
    authorSlots: prng.int(3),
    shape: prng.pick(['even', 'noisy', 'ramp'] as const) ?? 'even',
    chunkSize: prng.chance(0.25) ? 1 + prng.int(Math.ceil(items / 4)) : undefined,
    speculate: prng.chance(0.6),
    replicas: 1 + prng.int(3),
    leaseMs: prng.pick([5_000, 10_000]) ?? 10_000,
    valueBytes: prng.pick([1, 16, 400]) ?? 16,
    submitMs: prng.between(500, 2_500),
    checked: true,
  }
}

function drawFaults(
  prng: Prng,
  kinds: ReadonlySet<FaultKind>,
  { peers, authorSlots }: Pick<SimOptions, 'peers' | 'authorSlots'>,
  horizonMs: number,
): Faults {
  const has = (kind: FaultKind): boolean => kinds.has(kind) && prng.chance(0.5)
  const joins = has('join') ? drawJoins(prng, peers, horizonMs) : []
  const byzantine = has('byzantine') ? drawByzantine(prng, peers) : []
  const bad = new Set(byzantine.map(({ peer }) => peer))
  const honest = [...Array(peers).keys()].filter((peer) => !bad.has(peer))
  // Somebody honest who lends slots stays for good.
  const survivor = prng.pick(honest.slice(authorSlots === 0 ? 1 : 0)) ?? 0
  const draw = { prng, honest, survivor, horizonMs }
  const crashes = [
    ...(has('crash') ? drawCrashes(draw, false, false) : []),
    ...(has('power') ? drawCrashes(draw, true, false) : []),
    ...(has('old-folder') ? drawCrashes(draw, false, true) : []),
  ]
  return {
    ...NO_FAULTS,
    network: drawNetwork(prng, has('network')),
    partitions: has('partition') ? drawPartitions(prng, peers + joins.length, horizonMs) : [],
    pauses: has('pause') ? drawPauses(draw) : [],
    crashes,
    leaves: has('leave') ? drawLeaves(draw) : [],
    fullDisks: has('disk') ? drawDisks(draw) : [],
    joins,
    byzantine,
    drift: has('drift') ? 0.02 : 0,
    writeMs: prng.chance(0.7) ? prng.between(0.3, 3) : 0,
    healMs: horizonMs + 100,
  }
}

interface Draw {
  readonly prng: Prng
  readonly honest: readonly number[]
  readonly survivor: number
  readonly horizonMs: number
}

function drawNetwork(prng: Prng, bad: boolean): NetworkFaults {
  const base = prng.chance(0.5) ? WIDE_AREA : LOCAL_AREA
  if (!bad) return base
  return {
    ...base,
    loss: prng.between(0, 0.1),
    duplication: prng.between(0, 0.05),
    reordering: prng.between(0, 0.05),
    heldShare: prng.next(),
  }
}

function span(prng: Prng, horizonMs: number): { startMs: number; endMs: number } {
  const startMs = prng.between(0, horizonMs * 0.9)
  return { startMs, endMs: prng.between(startMs + 100, horizonMs) }
}

function drawPartitions(prng: Prng, peers: number, horizonMs: number): Partition[] {
  return many(prng, 3, () => {
    const all = [...Array(peers).keys()]
    const from = prng.sample(all, 1 + prng.int(peers - 1))
    const to = all.filter((peer) => !from.includes(peer))
    return { ...span(prng, horizonMs), from, to, bothWays: prng.chance(0.6) }
  })
}

function drawPauses({ prng, honest, horizonMs }: Draw): Pause[] {
  return many(prng, 3, () => ({
    ...span(prng, horizonMs),
    peer: prng.pick(honest) ?? 0,
    clockStands: prng.chance(0.3),
  }))
}

function drawCrashes(draw: Draw, power: boolean, oldFolder: boolean): Crash[] {
  const { prng, honest, survivor, horizonMs } = draw
  return many(prng, 4, () => {
    const peer = prng.pick(honest) ?? 0
    const atMs = prng.between(0, horizonMs * 0.95)
    const back = peer === survivor || oldFolder || prng.chance(0.7)
    const soon = prng.chance(0.5) ? Math.min(horizonMs, atMs + 2_000) : horizonMs
    return {
      peer,
      atMs,
      restartMs: back ? prng.between(atMs + 10, soon) : undefined,
      power,
      folderAgeMs: oldFolder ? prng.between(10, atMs) : 0,
    }
  })
}

function drawLeaves({ prng, honest, survivor, horizonMs }: Draw): Leave[] {
  return many(prng, 2, () => {
    const peer = prng.pick(honest) ?? 0
    const atMs = prng.between(0, horizonMs * 0.8)
    const back = peer === survivor || prng.chance(0.5)
    return { peer, atMs, returnMs: back ? prng.between(atMs, horizonMs) : undefined }
  })
}

function drawDisks({ prng, honest, horizonMs }: Draw): FullDisk[] {
  return many(prng, 2, () => ({ ...span(prng, horizonMs), peer: prng.pick(honest) ?? 0 }))
}

function drawJoins(prng: Prng, peers: number, horizonMs: number): Join[] {
  let peer = peers
  return many(prng, 3, () => ({ peer: peer++, atMs: prng.between(0, horizonMs) }))
}

/** Under a third of the peers, and not the submitter: its job is what is watched. */
function drawByzantine(prng: Prng, peers: number): Byzantine[] {
  const most = Math.floor((peers - 1) / 3)
  if (most === 0) return []
  const others = [...Array(peers).keys()].slice(1)
  return prng.sample(others, 1 + prng.int(most)).map((peer) => ({
    peer,
    kinds: prng.sample(MISCHIEFS, 1 + prng.int(MISCHIEFS.length)),
    everyMs: prng.between(200, 2_000),
  }))
}

function many<T>(prng: Prng, most: number, make: () => T): T[] {
  return Array.from({ length: 1 + prng.int(most) }, make)
}

import { Prng } from '../../sim/prng.ts'

export type FaultKind = 'kill' | 'stop' | 'cut' | 'leave'

/** One fault and its end: a killed peer (or one that left) is started again, a stopped one continued, a cut one healed. */
export interface Fault {
  readonly kind: FaultKind
  readonly peer: number
  readonly atMs: number
  readonly untilMs: number
  /** Of a stop: its workers too, as when a machine sleeps; else the peer's process alone. */
  readonly workersToo: boolean
}

export interface ScheduleOptions {
  readonly seed: number
  readonly peers: number
  readonly durationMs: number
  /** Peers that nothing happens to. */
  readonly spared: readonly number[]
  /** How many may be down at once. */
  readonly maxDown: number
  readonly kinds?: readonly FaultKind[]
}

const WEIGHTS: Readonly<Record<FaultKind, number>> = { kill: 4, stop: 3, cut: 3, leave: 1 }
/** Short ones end well within a lease of 10 s, long ones well after it. */
const SHORT_MS = [800, 6_000] as const
const LONG_MS = [13_000, 18_000] as const

/** The same seed gives the same faults. */
export function scheduleOf(options: ScheduleOptions): Fault[] {
  const random = new Prng(options.seed)
  const kinds = options.kinds ?? (Object.keys(WEIGHTS) as FaultKind[])
  const faults: Fault[] = []
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random.next() * from.length)]!
  const bag = kinds.flatMap((kind) => Array<FaultKind>(WEIGHTS[kind]).fill(kind))
  for (let atMs = 1_500; atMs < options.durationMs; atMs += random.between(1_500, 5_000)) {
    const down = faults.filter((fault) => fault.untilMs + 1_500 > atMs).map(({ peer }) => peer)
    const kind = pick(bag)
    const long = random.chance(0.35)
    const [least, most] = long ? LONG_MS : SHORT_MS
    const lastsMs = random.between(least, most)
    const workersToo = random.chance(0.5)
    const up = Array.from({ length: options.peers }, (_, i) => i).filter(
      (i) => !down.includes(i) && !options.spared.includes(i),
    )
    if (up.length === 0 || down.length >= options.maxDown) continue
    const peer = pick(up)
    const untilMs = Math.round(atMs + lastsMs)
    faults.push({ kind, peer, atMs: Math.round(atMs), untilMs, workersToo })
  }
  return faults
}

export function describeFault(fault: Fault): string {
  const { kind, peer, atMs, untilMs, workersToo } = fault
  const what = kind === 'stop' && workersToo ? 'stop (workers too)' : kind
  return `${seconds(atMs)}-${seconds(untilMs)} ${what} peer ${peer}`
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

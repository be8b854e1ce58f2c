import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FaultKind } from './schedule.ts'

/** One run of one item, as its worker wrote it down; times are ms since the epoch. */
export interface Execution {
  readonly item: number
  /** The peer's process. */
  readonly peerPid: number
  readonly startedAt: number
  /** Absent: it was killed in the middle. */
  endedAt: number | undefined
}

/** What befell a process: the time from which others could not hear it, and until when (Infinity: it was ended). */
export interface Lapse {
  readonly kind: FaultKind
  readonly peer: number
  readonly pid: number
  readonly from: number
  readonly until: number
}

/** Every run of every item, from the files that the workers wrote. */
export async function readExecutions(folder: string): Promise<Execution[]> {
  const executions: Execution[] = []
  for (const name of await readdir(folder)) {
    const peerPid = Number(name.split('-')[0])
    let open: Execution | undefined
    for (const line of (await readFile(join(folder, name), 'utf8')).split('\n')) {
      const [what, item, at] = line.split(' ')
      if (what === 's' && at !== undefined) {
        open = { item: Number(item), peerPid, startedAt: Number(at), endedAt: undefined }
        executions.push(open)
      } else if (what === 'e' && at !== undefined && open?.item === Number(item)) {
        open.endedAt = Number(at)
      }
    }
  }
  return executions
}

export interface Tally {
  readonly items: number
  readonly executions: number
  /** Items that never ran. */
  readonly neverRan: readonly number[]
  /** Runs beyond the first of their item, by what excuses them. */
  readonly twice: {
    /** The earlier run was in hand on a session that died (killed, or left). */
    readonly killed: number
    /** … on one that was stopped for longer than a lease, or on that one after it went on. */
    readonly stopped: number
    /** … on one that was cut off for longer than a lease. */
    readonly cut: number
    /** It overlaps another run of the item: an idle peer's copy of what was slow elsewhere. */
    readonly copied: number
  }
  /** Runs beyond the first that nothing excuses. */
  readonly unexplained: readonly { readonly item: number; readonly runs: readonly Execution[] }[]
}

/** A chunk ends after about 250 ms and one item, and its DONE is written some ms later; on a busy machine all takes longer. */
const IN_HAND_MS = 2_500
/** A copy is of a chunk, not of an item: the first items of it may be done before the copy of them begins. */
const COPY_MS = 1_000
/** What lasts less is no death: the lease is 10 s. */
const LAPSE_MS = 8_000
/** After a lapse: until the others are heard again, and what they did meanwhile is known. */
const RETURN_MS = 4_000

/** Counts what ran more often than once, and whether a lapse (or, where allowed, speculation) excuses it. */
export function tallyOf(
  items: number,
  executions: readonly Execution[],
  lapses: readonly Lapse[],
  speculate: boolean,
): Tally {
  const byItem = new Map<number, Execution[]>()
  for (const execution of executions) {
    const runs = byItem.get(execution.item)
    if (runs === undefined) byItem.set(execution.item, [execution])
    else runs.push(execution)
  }
  const neverRan: number[] = []
  for (let item = 0; item < items; item += 1) if (!byItem.has(item)) neverRan.push(item)
  const deaths = lapses.filter(({ from, until }) => until - from >= LAPSE_MS)
  const twice = { killed: 0, stopped: 0, cut: 0, copied: 0 }
  const unexplained: { item: number; runs: Execution[] }[] = []
  for (const [item, runs] of byItem) {
    runs.sort((a, b) => a.startedAt - b.startedAt)
    const free = new Set(deaths)
    const copies = speculate ? copiesAmong(runs) : 0
    twice.copied += copies
    for (let extra = 1 + copies; extra < runs.length; extra += 1) {
      const excuse = [...free].find((lapse) => runs.some((run) => inHand(run, lapse)))
      if (excuse === undefined) {
        unexplained.push({ item, runs })
        break
      }
      free.delete(excuse)
      if (excuse.kind === 'stop') twice.stopped += 1
      else if (excuse.kind === 'cut') twice.cut += 1
      else twice.killed += 1
    }
  }
  return { items, executions: executions.length, neverRan, twice, unexplained }
}

/** Runs that began while another one of the item was under way. */
function copiesAmong(runs: readonly Execution[]): number {
  return runs.filter((run, i) =>
    runs.slice(0, i).some(({ endedAt }) => run.startedAt < (endedAt ?? Infinity) + COPY_MS),
  ).length
}

/** Whether that run was in hand when the lapse began, or was begun before its session knew what it had missed. */
function inHand(run: Execution, lapse: Lapse): boolean {
  // During a cut either side may run what the other one has: both are excused.
  if (lapse.kind !== 'cut' && run.peerPid !== lapse.pid) return false
  const ended = run.endedAt ?? Infinity
  return ended >= lapse.from - IN_HAND_MS && run.startedAt <= lapse.until + RETURN_MS
}

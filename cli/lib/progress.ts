import type { JobInfo } from '../../src/node/types.ts'
import type { Terminal } from './context.ts'
import { formatCount, formatDuration, formatPercent, formatRate, printable } from './format.ts'
import { finishedItems, itemWord, peersText } from './job-view.ts'
import {
  BAR_WIDTH,
  NAME_CHARS,
  NODE_NAME_CHARS,
  NODES_IN_PROGRESS,
  PLAIN_LINE_MS,
  REDRAW_MS,
} from './limits.ts'
import { renderBar, visibleWidth } from './table.ts'

/** What a progress line says; a JobInfo has all of it. */
export type ProgressFacts = Pick<
  JobInfo,
  'name' | 'items' | 'done' | 'failed' | 'itemsPerSecond' | 'etaSeconds' | 'peersAtWork' | 'state'
> &
  Partial<Pick<JobInfo, 'waitsFor' | 'startsAt' | 'output' | 'nodes'>>

export interface Progress {
  /** New facts; drawn at most 10 times a second on a terminal, every 2 s elsewhere. */
  update(facts: ProgressFacts): void
  /** Take the bar off the screen while `write` writes lines there. */
  aside(write: () => void): void
  /** Take the bar off for good. */
  end(): void
}

export interface ProgressOptions {
  readonly stream: Terminal
  readonly now: () => number
  /** Draw nothing at all (--quiet, --json). */
  readonly silent?: boolean
}

const CLEAR_LINE = '\r\u001b[2K'

/** A bar on a terminal, plain lines elsewhere. It has no timer of its own: it draws when it hears something. */
export function createProgress(options: ProgressOptions): Progress {
  if (options.silent === true) {
    return { update: () => {}, aside: (write) => write(), end: () => {} }
  }
  return options.stream.isTTY === true ? barProgress(options) : lineProgress(options)
}

function barProgress({ stream, now }: ProgressOptions): Progress {
  let drawnAt = Number.NEGATIVE_INFINITY
  let shown = ''
  let latest: ProgressFacts | undefined
  const draw = (): void => {
    if (latest === undefined) return
    const line = barLine(latest, stream.columns ?? 80)
    if (line === shown) return
    shown = line
    drawnAt = now()
    stream.write(CLEAR_LINE + line)
  }
  const clear = (): void => {
    if (shown === '') return
    shown = ''
    stream.write(CLEAR_LINE)
  }
  return {
    update(facts) {
      latest = facts
      if (now() - drawnAt >= REDRAW_MS) draw()
    },
    aside(write) {
      clear()
      write()
      // The bar returns with the next update; redrawing here would flicker with every line.
      if (now() - drawnAt >= REDRAW_MS) draw()
    },
    end: clear,
  }
}

function lineProgress({ stream, now }: ProgressOptions): Progress {
  // The first line is due after one interval: a short job prints none.
  let due = now() + PLAIN_LINE_MS
  return {
    update(facts) {
      if (now() < due) return
      due = now() + PLAIN_LINE_MS
      stream.write(`mesh: ${plainLine(facts)}\n`)
    },
    aside: (write) => write(),
    end: () => {},
  }
}

/** 'primes  ████░░░░  612 340/1 000 000  61 %  48.2k/s  ETA 8 s  3 peers', cut to `columns` by leaving out the less needed. */
export function barLine(facts: ProgressFacts, columns: number): string {
  const finished = finishedItems(facts)
  const counts = `${formatCount(finished)}/${formatCount(facts.items)}`
  const failed = facts.failed > 0 ? `${formatCount(facts.failed)} failed` : ''
  const always = [counts, formatPercent(finished, facts.items)]
  const extras = [failed, formatRate(facts.itemsPerSecond), etaText(facts), peersText(facts)]
  const name = printable(facts.name, NAME_CHARS)
  // One column stays free: a line that fills the last one wraps on some terminals.
  const room = columns - 1
  for (const nodes of new Set([nodesText(facts), ''])) {
    for (const barWidth of [BAR_WIDTH, 12, 6, 0]) {
      const bar = barWidth > 0 ? renderBar(finished, facts.items, barWidth) : ''
      const line = join([name, bar, ...always, nodes, ...extras])
      if (visibleWidth(line) <= room) return line
    }
  }
  return join([...always, ...extras]).slice(0, Math.max(0, room))
}

/** The same for logs and pipes: 'primes: 612 340/1 000 000 items (61 %), 48.2k/s, ETA 8 s, 3 peers'. */
export function plainLine(facts: ProgressFacts): string {
  const finished = finishedItems(facts)
  const parts = [
    `${printable(facts.name, NAME_CHARS)}: ${formatCount(finished)}/${formatCount(facts.items)} ${itemWord(facts)}s (${formatPercent(finished, facts.items)})`,
    nodesText(facts),
    facts.failed > 0 ? `${formatCount(facts.failed)} failed` : '',
    formatRate(facts.itemsPerSecond),
    etaText(facts),
    peersText(facts),
  ]
  return parts.filter((part) => part !== '').join(', ')
}

/** Of a composition, the nodes that are next to end: 'fetch 340/1 000, sum 0/1, 3 more'. */
function nodesText({ nodes }: ProgressFacts): string {
  const open = (nodes ?? []).filter(({ done, items }) => done < items)
  if (nodes === undefined || nodes === null || nodes.length === 1) return ''
  const shown = open.slice(0, NODES_IN_PROGRESS).map((node) => {
    const name = printable(node.name, NODE_NAME_CHARS)
    return `${name} ${formatCount(node.done)}/${formatCount(node.items)}`
  })
  if (open.length > NODES_IN_PROGRESS)
    shown.push(`${formatCount(open.length - NODES_IN_PROGRESS)} more`)
  return shown.join(', ')
}

function etaText(facts: ProgressFacts): string {
  return facts.etaSeconds === null ? '' : `ETA ${formatDuration(Math.ceil(facts.etaSeconds))}`
}

function join(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join('  ')
}

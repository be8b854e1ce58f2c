import type { JobInfo, PeerInfo } from '../../src/node/types.ts'
import {
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
  plural,
  printable,
} from './format.ts'
import { gpuText } from './gpu.ts'
import { labelsText } from './labels.ts'
import { GPU_NAME_CHARS, LABELS_CHARS, NAME_CHARS, REASON_CHARS } from './limits.ts'
import type { Style } from './style.ts'
import { type Column, renderBar, renderTable } from './table.ts'

/** Items of the job that are final; failed ones are among `done` or beside it never twice. */
export function finishedItems(info: Pick<JobInfo, 'items' | 'done' | 'failed'>): number {
  return Math.min(info.items, info.done)
}

export function isOver(info: Pick<JobInfo, 'state'>): boolean {
  return info.state === 'finished' || info.state === 'cancelled'
}

/** What an item of the job is: of a kernel an element, or a row, of its output. */
export function itemWord({ output = null }: Partial<Pick<JobInfo, 'output'>>): string {
  if (output === null) return 'item'
  return output.length === 1 ? 'element' : 'row'
}

/** '2 048 x 2 048' */
export function sizeText(size: readonly number[]): string {
  return size.map(formatCount).join(' x ')
}

/** The state in its colour; a finished job with failed items says so. */
export function stateText(info: JobInfo, style: Style): string {
  if (info.state === 'finished') {
    return info.failed > 0
      ? style.red(`${formatCount(info.failed)} failed`)
      : style.green('finished')
  }
  if (info.state === 'cancelled') return style.yellow('cancelled')
  if (info.state === 'paused') return style.yellow('paused')
  if (info.startsAt !== null) return style.cyan('scheduled')
  return style.cyan('running')
}

/** 'cancelled by box2: wrong file'; '' when it was not, or nobody knows by whom. */
export function cancelledText({ cancelled }: Pick<JobInfo, 'cancelled'>): string {
  if (cancelled === null) return ''
  const reason = cancelled.reason === '' ? '' : `: ${printable(cancelled.reason, REASON_CHARS)}`
  return `cancelled by ${printable(cancelled.name, NAME_CHARS)}${reason}`
}

/** 'in 2 h 05 min', or 'now' */
export function untilText(iso: string, wallClock: number): string {
  const seconds = (Date.parse(iso) - wallClock) / 1000
  return seconds <= 0 ? 'now' : `in ${formatDuration(Math.ceil(seconds))}`
}

/** '2030-01-02 14:30:00', in this machine's zone. */
export function localTime(iso: string): string {
  const at = new Date(iso)
  const two = (value: number): string => String(value).padStart(2, '0')
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

/** How long the job took, or takes so far; NaN when unknown. */
export function secondsOf(info: JobInfo, wallClock: number): number {
  // Of a job that ended long ago on another peer the end may not be known.
  if (info.finishedAt === null && info.state === 'finished' && info.peersAtWork === 0)
    return Number.NaN
  const end = info.finishedAt === null ? wallClock : Date.parse(info.finishedAt)
  return Math.max(0, (end - Date.parse(info.submittedAt)) / 1000)
}

/** 'primes  █████░░░  61 %  612 340/1 000 000  48.2k/s  ETA 8 s  3 peers' */
export function runningLine(info: JobInfo, style: Style): string {
  const finished = finishedItems(info)
  const parts = [
    style.bold(info.short),
    printable(info.name, NAME_CHARS),
    style.cyan(renderBar(finished, info.items)),
    formatPercent(finished, info.items),
    `${formatCount(finished)}/${formatCount(info.items)}`,
    info.failed > 0 ? style.red(`${formatCount(info.failed)} failed`) : '',
    formatRate(info.itemsPerSecond),
    info.etaSeconds === null ? '' : `ETA ${formatDuration(Math.ceil(info.etaSeconds))}`,
    peersText(info),
  ]
  return parts.filter((part) => part !== '').join('  ')
}

/** Who works on it, or why nobody does; '' when nothing is left to do. */
export function peersText(
  info: Pick<JobInfo, 'state' | 'items' | 'done' | 'failed' | 'peersAtWork'> &
    Partial<Pick<JobInfo, 'waitsFor' | 'startsAt'>>,
): string {
  if (info.state === 'paused') return 'paused'
  if (typeof info.startsAt === 'string' && !isOver(info)) {
    return `starts at ${localTime(info.startsAt)}`
  }
  if (info.peersAtWork > 0) return plural(info.peersAtWork, 'peer')
  if (isOver(info) || finishedItems(info) >= info.items) return ''
  return `waiting for ${info.waitsFor ?? 'a slot'}`
}

const LABELS: Column = { title: 'LABELS' }
const ADDRESS: Column = { title: 'ADDRESS' }
const PEER_COLUMNS: readonly Column[] = [
  { title: 'PEER' },
  { title: 'NAME' },
  { title: 'SLOTS', align: 'right' },
  { title: 'BUSY', align: 'right' },
  { title: 'ITEMS/S', align: 'right' },
  { title: 'SPEED', align: 'right' },
  { title: 'GPU' },
  { title: 'MEMORY FREE', align: 'right' },
  { title: 'RTT', align: 'right' },
  { title: 'STATE' },
  ADDRESS,
]

/** 'this peer', 'connected', 'silent 12 s', 'lost, silent 12 s', 'away 3 min', 'left'; and what else keeps it from working. */
export function stateOf(peer: PeerInfo): string {
  const since = formatDuration(Math.round(peer.lastSeenMs / 1000))
  const texts = {
    connected: 'connected',
    silent: `${peer.lost ? 'lost, ' : ''}silent ${since}`,
    away: `${peer.lost ? 'lost, ' : ''}away ${since}`,
    left: 'left',
  }
  return (peer.self ? 'this peer' : texts[peer.state]) + (peer.diskFull ? ', disk full' : '')
}

/** The peers as a table; this one first, then by name. */
export function peerTable(
  peers: readonly PeerInfo[],
  bytes: (n: number) => string,
  style: Style,
): string {
  // Few meshes have labels: there is no column for nothing.
  const labelled = peers.some(({ labels }) => Object.keys(labels).length > 0)
  const rows = [...peers]
    .sort(
      (a, b) =>
        Number(b.self) - Number(a.self) || a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1),
    )
    .map((peer) => [
      peer.connected || peer.self ? style.bold(peer.short) : style.dim(peer.short),
      printable(peer.name, NAME_CHARS),
      peer.slots === 0 ? '0' : String(peer.slots),
      peer.slots === 0 ? '-' : String(Math.max(0, peer.slots - peer.freeSlots)),
      peer.itemsPerSecond > 0 ? formatRate(peer.itemsPerSecond).replace('/s', '') : '-',
      peer.slots === 0 ? '-' : peer.speed.toFixed(2),
      peer.gpu === null ? '-' : gpuText(peer.gpu, GPU_NAME_CHARS),
      bytes(peer.freeMemoryBytes),
      peer.rttMs === null ? '-' : `${Math.round(peer.rttMs * 10) / 10} ms`,
      stateOf(peer),
      ...(labelled ? [printable(labelsText(peer.labels), LABELS_CHARS)] : []),
      peer.self ? '' : printable(peer.address, 64),
    ])
  const columns = labelled ? [...PEER_COLUMNS.slice(0, -1), LABELS, ADDRESS] : PEER_COLUMNS
  return renderTable(columns, rows, style.dim)
}

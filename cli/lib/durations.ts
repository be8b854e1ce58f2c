import { InvalidArgumentError } from 'commander'
import { MeshError } from '../../src/base/errors.ts'

const SECONDS = { ms: 0.001, s: 1, m: 60, min: 60, h: 3600, d: 86_400, w: 604_800 } as const

/** For commander: '500ms', '10s', '5m', '2h', '1d', or a bare number of seconds -> seconds. */
export function duration(text: string): number {
  const seconds = secondsOf(text)
  if (seconds !== undefined) return seconds
  throw new InvalidArgumentError(`must be a time such as 500ms, 10s, 5m, 2h or 1d (got '${text}')`)
}

/** For commander: the same, above 0. */
export function positiveDuration(text: string): number {
  const seconds = secondsOf(text)
  if (seconds !== undefined && seconds > 0) return seconds
  throw new InvalidArgumentError(
    `must be a time above 0, such as 500ms, 10s, 5m, 2h or 1d (got '${text}')`,
  )
}

/** undefined when it is no time. */
export function secondsOf(text: string): number | undefined {
  const match = /^\s*(\d+(?:_\d+)*(?:\.\d+)?|\.\d+)\s*([a-z]*)\s*$/i.exec(text)
  if (match === null) return undefined
  const value = Number(match[1]!.replaceAll('_', ''))
  const unit = match[2] === '' ? 's' : match[2]!.toLowerCase()
  if (!Object.hasOwn(SECONDS, unit)) return undefined
  return value * SECONDS[unit as keyof typeof SECONDS]
}

/**
 * The value of --at: an ISO time (of this machine's zone when it names none), or HH:MM, the next time that this machine's clock says so.
 * @throws ERR_MESH_OPTION_INVALID
 */
export function timeOf(text: string, now: number): Date {
  const clock = /^\s*(\d{1,2}):(\d{2})(?::(\d{2}))?\s*$/.exec(text)
  if (clock !== null) {
    const [hours, minutes, seconds] = clock.slice(1).map((part) => Number(part ?? 0))
    if (hours! > 23 || minutes! > 59 || seconds! > 59) throw noTime(text)
    const at = new Date(now)
    at.setHours(hours!, minutes!, seconds!, 0)
    if (at.getTime() <= now) at.setDate(at.getDate() + 1)
    return at
  }
  const at = new Date(text.trim().replace(/^(\d{4}-\d{2}-\d{2}) /, '$1T'))
  if (!/^\s*\d{4}-\d{2}-\d{2}/.test(text) || Number.isNaN(at.getTime())) throw noTime(text)
  return at
}

function noTime(text: string): MeshError {
  return new MeshError(
    'ERR_MESH_OPTION_INVALID',
    `--at must be a time such as 14:30 or 2026-03-01T14:30 (got '${text}'); --in takes a delay such as 2h`,
    { details: { option: '--at' } },
  )
}

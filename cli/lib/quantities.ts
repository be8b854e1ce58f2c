import { InvalidArgumentError } from 'commander'

const DAY = { s: 1 / 86_400, m: 1 / 1_440, min: 1 / 1_440, h: 1 / 24, d: 1, w: 7 } as const
const BYTES = {
  b: 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  t: 1e12,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
} as const

/** For commander: '7d', '12h', '90min', '0' -> days. */
export function days(text: string): number {
  const days = quantity(text, DAY)
  if (days !== undefined && days <= 36_500) return days
  throw new InvalidArgumentError(
    `must be a time such as 7d, 12h or 30min, at most 36500d (got '${text}')`,
  )
}

/** For commander: '10GB', '512MiB', '0' -> bytes. */
export function bytes(text: string): number {
  const bytes = quantity(text, BYTES)
  if (bytes !== undefined && Number.isSafeInteger(Math.round(bytes))) return Math.round(bytes)
  throw new InvalidArgumentError(`must be a size such as 10GB or 512MiB (got '${text}')`)
}

function quantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^\s*(\d+(?:_\d+)*(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text)
  if (match === null) return undefined
  const value = Number(match[1]!.replaceAll('_', ''))
  const unit = match[2]!.toLowerCase()
  // Only nothing needs no unit.
  if (unit === '') return value === 0 ? 0 : undefined
  return Object.hasOwn(units, unit) ? value * units[unit]! : undefined
}

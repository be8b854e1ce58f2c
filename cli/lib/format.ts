import { stripVTControlCharacters } from 'node:util'

/** 1234567 -> '1 234 567'. */
export function formatCount(value: number): string {
  const digits = String(Math.trunc(Math.abs(value)))
  const grouped = digits.replace(/\B(?=(\d{3})+$)/g, ' ')
  return value < 0 ? `-${grouped}` : grouped
}

/** A number with a metric suffix, three digits: 48211 -> '48.2k'. */
export function formatSi(value: number): string {
  if (!Number.isFinite(value)) return '-'
  const steps: readonly (readonly [number, string])[] = [
    [1e12, 'T'],
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ]
  for (const [size, suffix] of steps) {
    // 999.95 and more would print as 1000 of the smaller unit.
    if (Math.abs(value) >= size * 0.99995) return `${threeDigits(value / size)}${suffix}`
  }
  return threeDigits(value)
}

function threeDigits(value: number): string {
  const size = Math.abs(value)
  const digits = size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2
  return String(Number(value.toFixed(digits)))
}

/** Items per second. */
export function formatRate(itemsPerSecond: number): string {
  return `${formatSi(itemsPerSecond)}/s`
}

/** Bytes in binary units: 33 500 000 000 -> '31.2 GiB'. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let unit = 0
  let value = bytes
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? String(Math.round(value)) : threeDigits(value)} ${units[unit]}`
}

/** Seconds for people: '0.4 s', '8 s', '1 min 20 s', '2 h 05 min', '3 d 4 h'. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '-'
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 9.95) return `${seconds.toFixed(1).replace('.0', '')} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`
  const hours = Math.round(seconds / 3600)
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

function pad(value: number): string {
  return String(value).padStart(2, '0')
}

/** How long ago, from an ISO time: '8 s ago'. Clocks of peers differ, so the future is 'just now'. */
export function formatAge(iso: string, wallClock: number): string {
  const seconds = (wallClock - Date.parse(iso)) / 1000
  if (!Number.isFinite(seconds)) return '-'
  return seconds < 1 ? 'just now' : `${formatDuration(Math.floor(seconds))} ago`
}

export function formatPercent(part: number, whole: number): string {
  if (whole === 0) return '100 %'
  // Rounded down: 100 % is said only of what is finished.
  return `${Math.floor((part / whole) * 100)} %`
}

/** '1 item', '2 items'. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`
}

/**
 * Text that came from another peer or from a task, safe for a terminal: escape sequences and control characters would let it
 * move the cursor or retitle the window. At most `limit` characters.
 */
export function printable(text: string, limit = Number.POSITIVE_INFINITY): string {
  const clean = stripVTControlCharacters(text).replace(/(?!\t)[\p{Cc}\p{Cf}\u2028\u2029]/gu, ' ')
  return clean.length > limit ? `${clean.slice(0, Math.max(0, limit - 1))}…` : clean
}

import { describe, expect, test } from 'vitest'
import {
  formatAge,
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
  formatSi,
  plural,
  printable,
} from '../../../cli/lib/format.ts'

describe('numbers for people', () => {
  test.each([
    [0, '0'],
    [999, '999'],
    [1000, '1 000'],
    [1234567, '1 234 567'],
    [-1234, '-1 234'],
  ])('count %d is %s', (value, text) => {
    expect(formatCount(value)).toBe(text)
  })

  test.each([
    [0, '0'],
    [0.5, '0.5'],
    [7.126, '7.13'],
    [999, '999'],
    [999.97, '1k'],
    [1000, '1k'],
    [48_211, '48.2k'],
    [999_960, '1M'],
    [1_000_000, '1M'],
    [100, '100'],
    [120.4, '120'],
    [2.5e9, '2.5G'],
    [Number.POSITIVE_INFINITY, '-'],
  ])('si %d is %s', (value, text) => {
    expect(formatSi(value)).toBe(text)
  })

  test('rates and percentages round down to what is true', () => {
    expect(formatRate(1500)).toBe('1.5k/s')
    expect(formatPercent(999_999, 1_000_000)).toBe('99 %')
    expect(formatPercent(0, 0)).toBe('100 %')
  })

  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [32 * 1024 ** 3, '32 GiB'],
    [33.5e9, '31.2 GiB'],
  ])('%d bytes are %s', (value, text) => {
    expect(formatBytes(value)).toBe(text)
  })

  test.each([
    [0.0004, '0 ms'],
    [0.4, '400 ms'],
    [1, '1 s'],
    [1.23, '1.2 s'],
    [9.96, '10 s'],
    [59.4, '59 s'],
    [59.6, '1 min 00 s'],
    [80, '1 min 20 s'],
    [3599.7, '1 h 00 min'],
    [7500, '2 h 05 min'],
    [100 * 3600, '4 d 4 h'],
    [-1, '-'],
    [Number.NaN, '-'],
  ])('%d seconds are %s', (value, text) => {
    expect(formatDuration(value)).toBe(text)
  })

  test('ages: the future is now, as clocks differ', () => {
    const now = Date.parse('2030-01-01T00:01:20Z')
    expect(formatAge('2030-01-01T00:00:00Z', now)).toBe('1 min 20 s ago')
    expect(formatAge('2030-01-01T00:05:00Z', now)).toBe('just now')
    expect(formatAge('nonsense', now)).toBe('-')
  })

  test('plurals', () => {
    expect(plural(1, 'item')).toBe('1 item')
    expect(plural(0, 'item')).toBe('0 items')
    expect(plural(2000, 'item')).toBe('2 000 items')
  })
})

test("another peer's text cannot drive the terminal", () => {
  expect(printable('\u001b[2Jred\u001b]0;title\u0007 a\nb\tc\u202ed')).toBe('red a b\tc d')
  expect(printable('abcdef', 4)).toBe('abc…')
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { shortestF32 } from '../../../src/base/f32-text.ts'

test.each([
  [0.1, '0.1'],
  [Math.fround(0.1), '0.1'],
  [16777216, '16777216'],
  [16777215, '16777215'],
  [3.4028234663852886e38, '3.4028235e+38'],
  [1.401298464324817e-45, '1.4013e-45'],
  [1 / 3, '0.33333334'],
  [-0, '-0'],
  [Number.NaN, 'NaN'],
  [Number.NEGATIVE_INFINITY, '-Infinity'],
])('%d is written %s', (value, text) => {
  expect(shortestF32(value)).toBe(text)
})

test('any f32 reads back as itself, in 9 digits at most', () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true }), (value) => {
      const text = shortestF32(value)
      expect(Object.is(Math.fround(Number(text)), value)).toBe(true)
      const digits = text.replace(/e.*/, '').replace(/\D/g, '').replace(/^0+/, '')
      expect(digits.length).toBeLessThanOrEqual(Number.isInteger(value) ? 39 : 9)
    }),
  )
})

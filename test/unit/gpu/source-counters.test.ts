/** Counters are i32 on a GPU and f32 as WebAssembly: a kernel whose loops tell that the two may differ is refused. */
import { expect, test } from 'vitest'
import { checkKernelSource } from '../../../src/gpu/kernel-source.ts'
import { facts } from './source-facts.ts'

const loop = (head: string, body: string): string =>
  `function () { let r = 0; for (let i = ${head}) { r = ${body} } return r }`

test.each([
  ['a square', loop('0; i < 46342; i++', 'i * i')],
  ['a constant as its end', loop('0; i < this.constants.n; i++', 'i * i')],
  ['a sum', loop('0; i < 10; i++', 'i + 2147483640')],
  ['a cube', loop('0; i < 1300; i++', 'i * i * i')],
  ['with a place', loop('0; i < 50000; i++', 'i * this.thread.x')],
  ['one of two', loop('0; i < 50000; i++', '(i > 3 ? i : 2) * i')],
  ['its negative', loop('0; i < 50000; i++', '-i * i')],
])('%s beyond what an i32 holds is refused', (_, source) => {
  expect(() =>
    checkKernelSource(
      source,
      facts({ output: [50_000], constants: { n: 60_000 }, loopMaxIterations: 60_000 }),
    ),
  ).toThrow(
    expect.objectContaining({
      code: 'ERR_MESH_KERNEL_INVALID',
      message: expect.stringMatching(/can reach \d+, and integers of a GPU wrap beyond 2147483647/),
    }),
  )
})

test.each([
  ['an operand', loop('0; i < 5000; i++', '(i * i) & 255')],
  ['a shift', loop('0; i < 5000; i++', '(i * i) >> 3')],
])('%s of bits beyond what an f32 holds is refused', (_, source) => {
  expect(() => checkKernelSource(source, facts({ loopMaxIterations: 5000 }))).toThrow(
    /can reach 24990001, while a counter is exact up to 16777216: write `\(i \| 0\)`/,
  )
})

test.each([
  ['the last that fits', loop('0; i < 46341; i++', 'i * i')],
  [
    'a copy',
    'function () { let r = 0; for (let i = 0; i < 50000; i++) { const k = i; r = k * k } return r }',
  ],
  ['its bits', loop('0; i < 50000; i++', '((i | 0) * (i | 0)) & 255')],
  ['a fraction', loop('0; i < 50000; i++', 'i * 1.5 * i')],
  ['a quotient', loop('0; i < 50000; i++', '(i / 7) * i')],
  [
    'places alone, which are i32 everywhere',
    'function () { return (this.thread.x * 1103515245) & 255 }',
  ],
  ['bits that an f32 holds', loop('0; i < 4097; i++', '(i * i) & 255')],
  [
    'a counter whose end nobody knows',
    'function (a) { let i = 0; while (i < a) { i++ } return i * i }',
  ],
])('%s is taken', (_, source) => {
  const args = source.includes('(a)') ? [{ kind: 'number', value: 3 } as const] : []
  expect(() =>
    checkKernelSource(source, facts({ output: [50_000], args, loopMaxIterations: 60_000 })),
  ).not.toThrow()
})

import { describe, expect, it } from 'vitest'
import { checkKernelSource } from '../../../src/gpu/kernel-source.ts'
import { GOOD } from './good-kernels.ts'
import { asJavaScript, inSlices } from './run-source.ts'
import { facts } from './source-facts.ts'
import { onWebasm } from './webasm-source.ts'

describe('a kernel is accepted, and gives on WebAssembly what it gives as JavaScript', () => {
  it.each(Object.keys(GOOD))('%s', (name) => {
    const { source, given, args } = GOOD[name]!
    const { constants, loopMaxIterations } = given
    const want = asJavaScript(source, constants)(given.output, args)
    const whole = inSlices(source, given, args, [], onWebasm(constants, loopMaxIterations))
    expect(whole).toHaveLength(want.length)
    whole.forEach((value, i) => {
      expect(value, `element ${i}`).toBeCloseTo(want[i]!, Math.abs(want[i]!) > 100 ? 2 : 4)
    })
    const cut = inSlices(source, given, args, [1, 3], onWebasm(constants, loopMaxIterations))
    expect(cut, 'slices give the same bits').toEqual(whole)
  })
})

it('takes what else is harmless', () => {
  const sources = [
    'function () { return 1 }',
    'function (\n) {\n\n  return 1\n}',
    'function(){return 1}',
    'function () { ; return 1 ; }',
    'function () { // eval("1"), \\u0065\n return 1 }',
    'function () { if (true) { return 1 } else if (false) return 2; else { return 3 } }',
    'function () { return -(-1) + +1 - ~1 }',
    'function () { return 0x10 + 1.5e3 + .5 + 5. }',
    'function () { return 1; return 2 }',
    'function () { for (let i = 0; i < 10 - 1; i += 2) { if (i > 3) break } return 1 }',
    'function () { for (let i = 0; 10 > i; ++i) { continue } return 1 }',
    'function () { for (let i = 2 * 2; i < this.output.x * 9; i++) { continue } return 1 }',
  ]
  for (const source of sources) {
    expect(() => checkKernelSource(source, facts()), source).not.toThrow()
  }
})

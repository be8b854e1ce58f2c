import { expect, it } from 'vitest'
import { checkKernelSource } from '../../../src/gpu/kernel-source.ts'
import { facts } from './source-facts.ts'

it('names the place, counted from 1, and the kernel', () => {
  const source = 'function () {\n  const x = 1\n  return y + x\n}'
  expect(() => checkKernelSource(source, facts({ name: 'sum' }))).toThrow(
    expect.objectContaining({
      message: expect.stringMatching(/^the kernel "sum", 3:10: "y" is not known here/),
      details: { line: 3, column: 10 },
    }),
  )
})

it('ends soon, whatever the source is', () => {
  const most = 16_000
  const hostile = [
    `function () { ${'let a = 0; '.repeat(most / 12)} return 1 }`,
    `function () { return ${' -'.repeat(most / 2)}1 }`,
    `function () { return ${'!'.repeat(most)}1 }`,
    `function () { return ${'['.repeat(most)} }`,
    `function () { return ${'1?'.repeat(most / 2)} }`,
    `function () { return ${'1?1:'.repeat(most / 4)}1 }`,
    `function () { return ${'1+'.repeat(most / 2)}1 }`,
    `function () { ${'if(1<2)'.repeat(most / 7)} return 1 }`,
    `function () { ${'{'.repeat(most)} return 1 }`,
    `function () { ${Array.from({ length: 1200 }, (_, i) => `let a${i}=0;`).join('')} return Z }`,
    `function () { ${'//x\n'.repeat(most / 4)} return Z }`,
    `function () { return ${'a.'.repeat(most / 2)}b }`,
    `function () { return ${'Math.abs('.repeat(most / 9)} }`,
  ]
  const startedAt = performance.now()
  for (const source of hostile) {
    expect(() => checkKernelSource(source, facts()), source.slice(0, 60)).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_KERNEL_INVALID' }),
    )
  }
  expect(performance.now() - startedAt).toBeLessThan(5000)
})

import { describe, expect, it } from 'vitest'
import { sha256Hex } from '../../../src/base/bytes.ts'
import {
  defineKernel,
  isKernel,
  type KernelInput,
  perItem,
} from '../../../src/gpu/define-kernel.ts'
import { kernelSpec } from '../../../src/gpu/kernel-spec.ts'

const plain = {
  name: 'double',
  kernel: function (a: number[]) {
    return a[this.thread.x]! * 2
  },
  output: 3,
} satisfies Parameters<typeof defineKernel>[0]
// biome-ignore lint/suspicious/noExplicitAny: what a user of JavaScript writes
const define = (changes: Record<string, any>) => defineKernel({ ...plain, ...changes } as any)
/** Written here as it stands: neither a compiler nor a linter changes it. */
const js = (text: string) => new Function(`return ${text}`)()
const textOf = (kernel: unknown) => define({ kernel }).source

describe('defineKernel', () => {
  it('makes a frozen kernel that every copy of the package knows', () => {
    const kernel = defineKernel({
      name: 'scale',
      kernel: function (a: number[]) {
        return a[this.thread.x]! * this.constants.factor
      },
      output: [4],
      constants: { factor: 3 },
      args: [[1, 2, 3, 4]],
      loopMaxIterations: 10,
      tolerance: { relative: 1e-5 },
      requires: 'gpu',
    })
    expect(Object.isFrozen(kernel)).toBe(true)
    expect(isKernel(kernel)).toBe(true)
    expect(isKernel({ [Symbol.for('meshwork.kernel')]: true })).toBe(true)
    expect(isKernel({ ...plain })).toBe(false)
    expect(isKernel(undefined)).toBe(false)
    expect(kernel).toMatchObject({
      name: 'scale',
      output: [4],
      constants: { factor: 3 },
      args: [[1, 2, 3, 4]],
      loopMaxIterations: 10,
      tolerance: { relative: 1e-5 },
      requires: 'gpu',
    })
    expect(define({})).toMatchObject({ output: [3], constants: {}, args: [], loopMaxIterations: 0 })
  })

  it('takes the text of a function, however it is written', () => {
    const text = 'function (a) { return a }'
    expect(textOf(js(text))).toBe(text)
    expect(textOf(js('function named(a) { return a }'))).toBe(text)
    expect(textOf(js('({ short(a) { return a } }).short'))).toBe(text)
    expect(textOf(js("({ 'two words'(a) { return a } })['two words']"))).toBe(text)
    expect(textOf(js('function   (a ,\n b) { return a }'))).toBe('function (a ,\n b) { return a }')
    const { source } = defineKernel({ ...plain, kernel: plain.kernel })
    expect(source).toMatch(/^function \(a\) \{\s*return a\[this\.thread\.x\] \* 2;?\s*\}$/)
  })

  // biome-ignore lint/suspicious/noExplicitAny: each is wrong in its own way
  const wrong: [string, Record<string, any>, RegExp][] = [
    ['a name of nothing', { name: '' }, /the kernel: name must be a string of 1 to 128/],
    ['a name with a line end', { name: 'a\nb' }, /control characters/],
    ['no kernel', { kernel: undefined }, /must be a function: write `kernel: function \(a, b\)/],
    ['a text', { kernel: 'function () { return 1 }' }, /must be a function/],
    [
      'an arrow',
      { kernel: () => 1 },
      /arrow function, which has no this\.thread: write `kernel: function/,
    ],
    ['an arrow of one name', { kernel: js('a => a') }, /arrow function/],
    [
      'an async function',
      { kernel: js('async function () { return 1 }') },
      /is async, but a kernel cannot wait/,
    ],
    [
      'an async method',
      {
        kernel: {
          async f() {
            return 1
          },
        }.f,
      },
      /is async/,
    ],
    [
      'a generator',
      {
        kernel: function* () {
          yield 1
        },
      },
      /generator, but a kernel returns once/,
    ],
    ['a bound function', { kernel: (() => 1).bind(null) }, /bound or built in/],
    ['a function of the language', { kernel: Math.sqrt }, /bound or built in/],
    ['a class', { kernel: class {} }, /is a class/],
    ['a computed name', { kernel: js('({ ["a" + 1]() { return 1 } }).a1') }, /computed/],
    [
      'a long text',
      { kernel: js(`function () { return 1 /* ${'x'.repeat(16_384)} */ }`) },
      /more than 16384/,
    ],
    ['no output', { output: undefined }, /output must be \[x\], \[x, y\] or \[x, y, z\]/],
    ['four dimensions', { output: [1, 2, 3, 4] }, /output must be/],
    ['an extent of 0', { output: [3, 0] }, /whole number from 1 to 16777216, not 0$/],
    ['half an extent', { output: [2.5] }, /whole number from 1 to 16777216, not 2\.5$/],
    ['an extent that is none', { output: [null] }, /whole number from 1 to 16777216, not null$/],
    ['a long axis', { output: 2 ** 24 + 1 }, /16777217 is above: .*use more dimensions/],
    ['a large output', { output: [2 ** 20, 2 ** 10] }, /more than 268435456/],
    ['constants in a list', { constants: [1] }, /an object of numbers: \{ n: 512 \}/],
    ['a constant that is text', { constants: { n: '1' } }, /constants\.n must be a number/],
    ['an infinite constant', { constants: { n: 1 / 0 } }, /constants\.n must be a number up to/],
    ['a constant with a taken name', { constants: { thread: 1 } }, /must not be called "thread"/],
    [
      'many constants',
      { constants: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`c${i}`, 1])) },
      /more than 64/,
    ],
    ['arguments in an object', { args: { a: 1 } }, /args of the kernel "double" must be a list/],
    ['no iterations', { loopMaxIterations: 0 }, /must be at least 1/],
    ['half an iteration', { loopMaxIterations: 1.5 }, /whole number up to 16777216/],
    ['a tolerance that is a number', { tolerance: 1 }, /\{ absolute, relative, cells \}/],
    [
      'a tolerance below 0',
      { tolerance: { relative: -1 } },
      /tolerance\.relative must be a number from 0 to 1/,
    ],
    ['an unknown tolerance', { tolerance: { ulp: 1 } }, /not "ulp"/],
    ['another requirement', { requires: 'cuda' }, /must be 'gpu', or be left out/],
    [
      'an unknown field',
      { outputs: [1] },
      /a field "outputs" that no kernel has; there are name, kernel/,
    ],
  ]
  it.each(wrong)('refuses %s', (_, changes, message) => {
    expect(() => define(changes)).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_TASK_INVALID',
        message: expect.stringMatching(message),
      }),
    )
  })

  it('refuses what is no object', () => {
    expect(() => defineKernel(1 as never)).toThrow(/takes an object/)
    expect(() => defineKernel(null as never)).toThrow(/takes an object/)
  })
})

const sum = defineKernel({
  name: 'sum',
  kernel: function (a: number[][], n: number) {
    return a[0]![this.thread.x]! + n
  },
  output: 2,
})
const two = (a: KernelInput) => kernelSpec(sum, [a, 5])
const f32 = (...numbers: number[]) => new Uint8Array(new Float32Array(numbers).buffer)

describe('kernelSpec', () => {
  it('gives the spec, and the bytes of arrays by their hash', () => {
    const bytes = f32(1, 2, 3, 4)
    const { spec, arrays } = two([
      [1, 2],
      [3, 4],
    ])
    const hash = sha256Hex(bytes)
    expect(spec).toEqual({
      v: 1,
      name: 'sum',
      source: sum.source,
      output: [2],
      constants: {},
      args: [
        { kind: 'array', hash, size: [2, 2], perItem: false },
        { kind: 'number', value: 5 },
      ],
      loopMaxIterations: 0,
      tolerance: {},
      requiresGpu: false,
    })
    expect([...arrays]).toEqual([[hash, bytes]])
  })

  it.each<[string, KernelInput, readonly number[]]>([
    ['rows of typed arrays', [new Float64Array([1, 2]), new Uint8Array([3, 4])], [2, 2]],
    ['flat numbers with a size', { data: [1, 2, 3, 4], size: [2, 2] }, [2, 2]],
    ['a typed array with a size', { data: new Int16Array([1, 2, 3, 4]), size: [2, 2] }, [2, 2]],
    [
      'a part of a buffer',
      { data: new Float32Array([0, 1, 2, 3, 4, 9]).subarray(1, 5), size: [2, 2] },
      [2, 2],
    ],
    [
      'a perItem array',
      perItem([
        [1, 2],
        [3, 4],
      ]),
      [2, 2],
    ],
  ])('takes %s', (name, input, size) => {
    const kernel = name.includes('perItem')
      ? define({
          name: 'p',
          kernel: js('function (a, n) { return a[this.thread.x][0] + n }'),
          output: 2,
        })
      : sum
    const { spec, arrays } = kernelSpec(kernel, [input, 5])
    const hash = sha256Hex(f32(1, 2, 3, 4))
    expect(spec.args[0]).toEqual({ kind: 'array', hash, size, perItem: name.includes('perItem') })
    expect([...arrays.values()]).toEqual([f32(1, 2, 3, 4)])
  })

  it('takes one and three dimensions', () => {
    const one = define({ args: [new Uint32Array([1, 2, 3])] })
    expect(kernelSpec(one).spec.args[0]).toMatchObject({ size: [3] })
    const three = define({
      kernel: js('function (a) { return a[0][1][this.thread.x] }'),
      args: [
        [
          [
            [1, 2, 3],
            [4, 5, 6],
          ],
          [[7, 8, 9], new Float32Array([1, 1, 1])],
        ],
      ],
    })
    const { spec, arrays } = kernelSpec(three)
    expect(spec.args[0]).toMatchObject({ size: [3, 2, 2] })
    expect([...arrays.values()][0]).toEqual(f32(1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 1, 1))
  })

  it('sends equal arrays once', () => {
    const kernel = define({
      kernel: js('function (a, b) { return a[0] + b[0] }'),
      args: [[1, 2], new Float32Array([1, 2])],
    })
    expect(kernelSpec(kernel).arrays.size).toBe(1)
  })

  // biome-ignore lint/suspicious/noExplicitAny: each is wrong in its own way
  it.each<[string, any, RegExp]>([
    [
      'text',
      'abc',
      /args\[0\] of the kernel "sum" must be a number or an array of numbers, but is string/,
    ],
    ['null', null, /must be a number or an array/],
    ['rows of two lengths', [[1, 2], [3]], /row 0 has 2 and row 1 has 1/],
    ['planes of two heights', [[[1]], [[1], [2]]], /row 0 has 1 and row 1 has 2/],
    ['numbers and rows', [1, [2]], /holds object among its numbers/],
    ['rows and numbers', [[2], 1], /must hold numbers alone, or rows/],
    ['text among numbers', [[1, '2']], /holds string among its numbers/],
    ['four dimensions', [[[[1]]]], /must hold numbers alone, or rows/],
    ['nothing', [], /must be a whole number from 1/],
    ['an empty array', new Float32Array(0), /must be a whole number from 1/],
    ['whole numbers of 64 bits', new BigInt64Array(2), /must be a number or an array/],
    [
      'a wrong size',
      { data: [1, 2, 3], size: [2, 2] },
      /has 3 numbers, but its size \[2, 2\] is 4/,
    ],
    ['a size that is none', { data: [1, 2, 3], size: 3 }, /size of args\[0\].* must be \[x\]/],
    ['data that are none', { data: 'abc', size: [3] }, /must be a typed array or a list/],
    [
      'a perItem array of another length',
      perItem([[1], [2], [3]]),
      /outermost extent must be that of the output along x, 2, but is 3/,
    ],
  ])('refuses %s', (_, input, message) => {
    expect(() => two(input)).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_TASK_INVALID',
        message: expect.stringMatching(message),
      }),
    )
  })

  it('refuses numbers that no f32 holds', () => {
    expect(() => kernelSpec(sum, [[[1]], Number.NaN])).toThrow(/args\[1\] must be a finite number/)
    expect(() => kernelSpec(sum, [[[1]], 1e39])).toThrow(/args\[1\] must be a finite number/)
  })

  it('checks the source with its arguments', () => {
    expect(() => kernelSpec(sum)).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_KERNEL_INVALID',
        message: expect.stringMatching(
          /the kernel "sum", 1:1: it takes 2 arguments \(a, n\), but 0 are given/,
        ),
      }),
    )
    expect(() => kernelSpec(sum, [[1, 2], 3])).toThrow(/has 1 dimension and 2 indexes here/)
  })
})

import { describe, expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import type { KernelFacts } from '../../../src/gpu/kernel-scope.ts'
import { checkKernelSource } from '../../../src/gpu/kernel-source.ts'
import { array, facts, number, slices } from './source-facts.ts'

/** A kernel around statements. */
const body = (statements: string) => `function () {\n${statements}\n}`
/** A kernel that returns an expression, with b (8), m (4 × 2), n = 3.5 and this.constants.k = 4. */
const value = (expression: string) => `function (b, m, n) { return ${expression} }`
const GIVEN: Partial<KernelFacts> = {
  args: [array(8), array(4, 2), number(3.5)],
  constants: { k: 4, half: 0.5 },
}

type Row = readonly [source: string, reason: RegExp, changes?: Partial<KernelFacts>]

const notOneFunction: Row[] = [
  ['() => 1', /arrow function .* write `function/],
  ['(a) => { return a }', /arrow function/],
  ['async function () { return 1 }', /async/],
  ['function* () { return 1 }', /generator/],
  ['function name() { return 1 }', /without a name/],
  ['function () { return 1 }; process.exit()', /nothing may follow/],
  ['function () { return 1 }()', /one function/],
  ['function () { return 1 }, 2', /one function/],
  ['class A {}', /one function/],
  ['1 + 1', /one function/],
  ['', /Unexpected token/],
  ['function () { return 1', /Unexpected token/],
  ['function () { return ] }', /Unexpected token/],
  [`function () { return 1 } ${' '.repeat(16_384)}`, /more than 16384/],
  ['function (/* a */) { return 1 }', /without comments/],
  [
    'function (a /* eval( */, b) { return 1 }',
    /without comments/,
    { args: [number(1), number(2)] },
  ],
  ['function (a = 1) { return a }', /plain name/, { args: [number(1)] }],
  ['function (a = process.exit(3)) { return a }', /plain name/, { args: [number(1)] }],
  ['function ({ a }) { return a }', /destructuring/, { args: [number(1)] }],
  ['function ([a]) { return a }', /destructuring/, { args: [number(1)] }],
  ['function (...a) { return 1 }', /`\.\.\.`/, { args: [number(1)] }],
  ['function (a, a) { return a }', /two arguments/, { args: [number(1), number(2)] }],
  ['function (a) { return a }', /takes 1 argument \(a\), but 0 are given/],
  ['function () { return 1 }', /takes 0 arguments \(none\), but 1 is given/, { args: [number(1)] }],
  ['function (constructor) { return 1 }', /taken/, { args: [number(1)] }],
  ['function (__proto__) { return 1 }', /"__"/, { args: [number(1)] }],
  ['function (Math) { return 1 }', /taken/, { args: [number(1)] }],
  ['function (mesh_x) { return 1 }', /kept for what the mesh adds/, { args: [number(1)] }],
  ['function (gl__a) { return 1 }', /"__"/, { args: [number(1)] }],
  [`function (${'a'.repeat(41)}) { return 1 }`, /1 to 40/, { args: [number(1)] }],
  ['function ($a) { return 1 }', /letters/, { args: [number(1)] }],
  [
    `function (${Array.from({ length: 33 }, (_, i) => `a${i}`).join(', ')}) { return 1 }`,
    /at most 32/,
    { args: Array.from({ length: 33 }, () => number(1)) },
  ],
]

const foreign: Row[] = [
  [value('eval("1")'), /functions of Math alone/],
  [value('process.exit(3)'), /functions of Math alone/],
  [value('b.x.String.fromCharCode(1)'), /functions of Math alone/],
  [value('globalThis.process'), /properties cannot be read/],
  [value('n.constructor'), /properties cannot be read/],
  [value('n["constructor"]'), /a number, not an array/],
  [value('b["constructor"]'), /no strings/],
  [value('b.__proto__'), /properties cannot be read/],
  [value('b[0]["__proto__"]'), /1 dimension and 2 indexes/],
  [value('this["thread"].x'), /properties cannot be read/],
  [value('this.constructor.constructor("return 1")()'), /functions of Math alone/],
  [value('this'), /of `this`, a kernel sees/],
  [value('this.thread'), /of `this`, a kernel sees/],
  [value('this.thread.w'), /x, y and z, not "w"/],
  [value('this.process.x'), /no this\.process/],
  [value('this.thread.x.y'), /properties cannot be read/],
  [value('this.color(1, 1, 1)'), /functions of Math alone/],
  [value('require'), /not known here/],
  [value('arguments'), /not known here/],
  [value('arguments[0]'), /only an argument that is an array/],
  [value('new Function("return 1")'), /`new`/],
  [value('import("x")'), /import and export/],
  [value('new.target'), /import and export/],
  [value('(function () { return 1 })()'), /functions of Math alone/],
  [value('(() => 1)()'), /functions of Math alone/],
  [value('function () { return 1 }'), /one function without others/],
  [value('class {}'), /no classes/],
  [value('`1`'), /no strings/],
  [value('Math.abs`1`'), /no strings/],
  [value('"1"'), /no strings/],
  [value('/x/'), /only numbers/],
  [value('null'), /only numbers/],
  [value('1n'), /without the n/],
  [value('{}.x'), /properties cannot be read/],
  [value('({ get x() { return 1 } })'), /knows numbers alone/],
  [value('[1, 2, 3]'), /one variable for each component/],
  [value('[...b]'), /one variable for each component/],
  [value('b?.[0]'), /\?\./],
  [value('Math?.abs(1)'), /\?\./],
  [value('n ?? 1'), /nothing is null/],
  [value('typeof n'), /no `typeof`/],
  [value('void 0'), /no `void`/],
  [value('delete b[0]'), /no `delete`/],
  [value('"a" in b'), /no `in`/],
  [value('n instanceof n'), /no `instanceof`/],
  [value('(1, n)'), /comma/],
  [value('(0, eval)("1")'), /functions of Math alone/],
  [value('n = 1'), /statement of its own/],
  [value('n++'), /statements of their own/],
  [body('await 1; return 1'), /not known here|Unexpected/],
  [body('yield 1; return 1'), /not known here|Unexpected/],
  [body('"use strict"; return 1'), /no strings|nothing comes/],
  [body('debugger; return 1'), /debugger/],
  [body('with (this) { return 1 }'), /no `with`/],
  [body('a: for (;;) { break a } return 1'), /no labels/, { loopMaxIterations: 9 }],
  [body('try { return 1 } catch { return 2 }'), /no exceptions/],
  [body('throw 1'), /no exceptions/],
  [body('switch (1) { default: return 1 }'), /use if and else/],
  [body('function f() { return f() } return f()'), /one function without others/],
  [body('class A {} return 1'), /no classes/],
  [body('const { x } = this.thread; return x'), /destructuring/],
  [body('const [x] = [1]; return x'), /destructuring/],
  [body('for (const x of [1]) { return x } return 1'), /in place of for…of/],
  [body('for (const x in this) { return x } return 1'), /in place of for…in/],
  [body('this.thread.x = 1; return 1'), /only variables can be assigned/],
  [body('this.constants.k = 1; return 1'), /only variables can be assigned/],
  ['function () { return \\u0065val("1") }', /backslash|functions of Math/],
  ['function () { let \\u0061 = 1; return a }', /backslash/],
  ['function () { let é = 1; return 1 }', /the character/],
  ['function () { return 1\u2028}', /the character/],
  ['function () { <!-- x\nreturn 1 }', /"<!--"|Unexpected/],
  ['function () { let x = 1; while (x --> 0) { } return 1 }', /"-->"/, { loopMaxIterations: 9 }],
]

const numbers: Row[] = [
  [value('Math.random()'), /other numbers in each slicing.*seeds/],
  [value('Math.hypot(n, n)'), /Math\.sqrt/],
  [value('Math.imul(n, n)'), /rounded/],
  [value('Math.clz32(n)'), /Math\.log2/],
  [value('Math.fancy(n)'), /there are E, LN10/],
  [value('Math.x.y'), /properties cannot be read/],
  [value('Math'), /stands alone/],
  [value('Math.PI()'), /without \(\)/],
  [value('Math.sqrt'), /call it/],
  [value('Math.sqrt()'), /takes 1 number and gets 0/],
  [value('Math.max(1, 2, n)'), /Math\.max\(a, Math\.max\(b, c\)\)/],
  [value('Math.max(...b)'), /takes 2 numbers and gets 1/],
  [value('Math["abs"](n)'), /functions of Math alone/],
  [value('n ** 2'), /Math\.pow/],
  [value('Infinity'), /largest f32/],
  [value('NaN'), /no NaN/],
  [value('undefined'), /no undefined/],
  [value('1e39'), /larger than the largest f32/],
  [value('1e999'), /larger than the largest f32/],
  [value('010'), /decimal/],
  [value('0b11'), /decimal/],
  [value('1_000'), /Identifier directly after number|Numeric separators|Unexpected/],
  [value('k'), /write this\.constants\.k/],
  [value('this.constants.q'), /no constant "q"; there are k, half/],
  [value('this.thread.y'), /always 0, as the output has 1 dimension/],
  [value('this.output.z'), /always 1.*\[x, y, z\]/],
  [value('b'), /an array: read one element of it, b\[…\]/],
  [value('b + 1'), /an array/],
  [value('b.length'), /no length on a device/],
  [value('n[0]'), /a number, not an array/],
  [value('m[0]'), /2 dimensions and 1 index here: write m\[y\]\[x\]/],
  [value('b[0][1]'), /1 dimension and 2 indexes/],
  [value('b[-1]'), /8 elements here, from 0 to 7/],
  [value('b[8]'), /8 elements here, from 0 to 7/],
  [value('m[2][0]'), /2 elements here/],
  [value('m[0][2 * 2]'), /4 elements here/],
  [value('1 / 0'), /larger than the largest f32/],
  [value('n / (this.constants.k - 4) + 0 / (this.constants.k - 4)'), /not a number/],
  [value('Math.sqrt(-1)'), /not a number/],
  [value('Math.log(0) * n'), /larger than the largest f32/],
  [value('1e30 * 1e30'), /larger than the largest f32/],
  [value('(this.constants.k & 4) << 30'), /larger than an integer can be/],
  [value('(this.constants.k & 4) * 1000000000'), /larger than an integer can be/],
  [value('this.thread.x + (1 << 31)'), /larger than an integer can be/],
  [value('b[0.5]'), /rounds 0\.5/],
  [value('b[n < 1]'), /a number belongs here/],
  [value('n < 1'), /true or false: write `… \? 1 : 0`/],
  [value('true'), /a number belongs here/],
  [value('n ? 1 : 0'), /a condition belongs here/],
  [value('!n ? 1 : 0'), /a condition belongs here/],
  [value('(n && 1) ? 1 : 0'), /a condition belongs here/],
  [value('(n < 1) + 1'), /a number belongs here/],
  [value('(n < 1) === true ? 1 : 0'), /a number belongs here/],
  [value('n << 32'), /0 to 31 bits/],
  [value('n >>> 0'), /1 to 31/],
  [value('n & 4294967295'), /larger than an integer can be/],
  [value('this.thread.x * 4294967296'), /larger than an integer can be/],
  [value('b[this.constants.half]'), /rounds 0\.5/],
  [value('b[2 * n]'), /write the number on the right/],
  [value('b[Math.floor(2 * n)]'), /write the number on the right/],
  [value('b[Math.floor(1 + this.constants.k)]'), /write the number on the right/],
  [value('b[Math.min(0.5, n)]'), /rounds 0\.5/],
  [value('b[n < 1 ? 1 : 0]'), /variable of its own/],
  [value('this.thread.x + (n < 1 ? 1 : 0)'), /variable of its own/],
  [value('(n < 1 ? 1 : 0) & 1'), /variable of its own/],
  [value(`${'('.repeat(200)}n${')'.repeat(200)}`), /nested more than 64/],
  [value(`${'- '.repeat(100)}n`), /nested more than 64/],
  [value(`${'n + '.repeat(70)}n`), /nested more than 64/],
  [value(`${'n < 1 ? 1 : '.repeat(9)}2.5`), /more than 8 \?:/],
]

const variables: Row[] = [
  [body('let x; return 1'), /give "x" a value/],
  [body('let x = 1; let y = 1; { let x = 2; y = x } return y'), /declared around here already/],
  [
    body('for (let i = 0; i < 3; i++) { for (let i = 0; i < 3; i++) { } } return 1'),
    /declared around here/,
  ],
  [body('{ var x = 1 } return x'), /not known here/],
  [body('x = 1; return 1'), /not declared here/],
  [body('const y = x; let x = 1; return y'), /not known here/],
  [body('const x = 1; x = 2; return x'), /declare it with let/],
  [body('const x = 1; x++; return x'), /declare it with let/],
  [body('let x = 1; x **= 2; return x'), /in place of \*\*=/],
  [body('let x = 1; x &= 2; return x'), /write `x = x & …`/],
  [body('let x = 1 < 2; return 1'), /a number belongs here/],
  [body('let Infinity = 1; return 1'), /taken/],
  [body('let hasOwnProperty = 1; return 1'), /taken/],
  [body('1 + 1; return 1'), /nothing comes of this/],
  [body('Math.sin(1); return 1'), /nothing comes of this/],
  [body('if (1 < 2) var x = 1; return 1'), /use \{ \}/],
  ['function (n) { n = 1; return n }', /is an argument: copy it/, { args: [number(1)] }],
  ['function (n) { n++; return n }', /is an argument: copy it/, { args: [number(1)] }],
  [
    'function (n) { let n = 1; return n }',
    /argument already|already been declared/,
    { args: [number(1)] },
  ],
  ['function (b) { b[0] = 1; return 1 }', /only variables can be assigned/, { args: [array(8)] }],
]

const endings: Row[] = [
  [body(''), /not every way .* returns a number/],
  [body('return'), /write `return …`/],
  [body('if (this.thread.x < 1) return 1'), /not every way/],
  [body('if (this.thread.x < 1) { return 1 } else { let x = 2 }'), /not every way/],
  [body('while (true) { return 1 }'), /not every way/, { loopMaxIterations: 9 }],
]

const loop = (head: string) => body(`let s = 0; for (${head}) { s += 1 } return s`)
const loops: Row[] = [
  [loop(';;'), /loopMaxIterations/],
  [loop('let i = 0; ; i++'), /loopMaxIterations/],
  [loop('let i = 0; i < 10; '), /not plain from its head/],
  [loop('let i = 0; i < s; i++'), /not plain from its head/],
  [loop('let i = 10; i < 2000 + s; i = i * 2'), /not plain from its head/],
  [
    'function (n) { let s = 0; for (let i = 0; i < n; i++) s += 1; return s }',
    /loopMaxIterations/,
    { args: [number(3)] },
  ],
  [
    'function (n) { let s = 0; for (let i = 0; i < n; i++) s += 1; return s }',
    /runs 4096 times, but loopMaxIterations is 1000/,
    { args: [number(4096)], loopMaxIterations: 1000 },
  ],
  [loop('let i = this.thread.x; i < 2; i++'), /not plain from its head/],
  [
    loop('let i = -1; i < this.constants.n; i++'),
    /runs 5001 times, but loopMaxIterations is not set/,
    { constants: { n: 5000 } },
  ],
  [loop('let i = 0; i < this.constants.n * 2; i++'), /runs 2000 times/, { constants: { n: 1000 } }],
  [loop('let i = 2000; i > 0 && s < 5; i--'), /runs 2000 times/],
  [loop('let i = 0, j = 0; i < 10; i++'), /not plain/],
  [loop('let i = 0; i < 20000000; i += 1'), /counters stand still: put a loop into a loop/],
  [loop('s = 0; s < 3; s++'), /declares its counter/],
  [loop('let i = 0; i; i++'), /a condition belongs here/],
  [loop('let i = 0; i < 9; i++, s++'), /changes one variable/],
  [loop('let i = 0; i < 9; Math.abs(i)'), /changes one variable/],
  [body('while (1 < 2) { break } return 1'), /loopMaxIterations/],
  [body('do { break } while (1 < 2); return 1'), /loopMaxIterations/],
  [
    body(
      'let s = 0; for (let i = this.thread.x; i < 9; i++) { if (i < 3) continue; s += i } return s',
    ),
    /skip the last part of the for/,
    { loopMaxIterations: 99 },
  ],
  [
    body('let s = 0; do { s += 1; if (s < 3) continue } while (s < 9); return s'),
    /skip the test of do…while/,
    { loopMaxIterations: 99 },
  ],
  [body('break; return 1'), /Unsyntactic break/],
  [body('continue; return 1'), /Unsyntactic continue/],
]

const sliced = { output: [8, 4] as const, args: [slices(8, 4)] }
const perItem: Row[] = [
  ['function (p) { return p[0][this.thread.x] }', /first index must be this\.thread\.y/, sliced],
  ['function (p) { return p[this.thread.x][0] }', /first index must be this\.thread\.y/, sliced],
  ['function (p) { return p[this.thread.y + 1][0] }', /without perItem to read all/, sliced],
  ['function (p) { let y = this.thread.y; y += 1; return p[y][0] }', /first index/, sliced],
  ['function (p) { const y = this.thread.x; return p[y][0] }', /first index/, sliced],
]

const tables: Record<string, Row[]> = {
  notOneFunction,
  foreign,
  numbers,
  variables,
  endings,
  loops,
  perItem,
}

describe.each(Object.entries(tables))('a kernel is refused: %s', (name, rows) => {
  it.each(rows.map((row) => [row[0], row] as const))('%s', (_, [source, reason, changes = {}]) => {
    const given = name === 'foreign' || name === 'numbers' ? GIVEN : {}
    const own = source.startsWith('function (b, m, n)') ? given : {}
    let error: unknown
    try {
      checkKernelSource(source, facts({ ...own, ...changes }))
    } catch (thrown) {
      error = thrown
    }
    expect(isMeshError(error, 'ERR_MESH_KERNEL_INVALID'), String(error)).toBe(true)
    expect((error as Error).message).toMatch(reason)
    expect((error as Error).message).toMatch(/^the kernel, \d+:\d+: /)
  })
})

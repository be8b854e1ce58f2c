import { describe, expect, it } from 'vitest'
import { selfContainedSource } from '../../../src/runtime/closure.ts'

type AnyFunction = (...args: never[]) => unknown

/** Compiled at run time, so that no transform of the tests touches the source. */
const fn = (source: string): AnyFunction => new Function(`return ${source}`)() as AnyFunction
const method = (source: string): AnyFunction =>
  (new Function(`return ({ ${source} })`)() as Record<string, AnyFunction>).run!
const call = (source: string, ...args: unknown[]): unknown =>
  (new Function(`return ${source}`)() as (...args: unknown[]) => unknown)(...args)

describe('a self-contained function', () => {
  it.each([
    ['an arrow', fn('(x) => x * 2')],
    ['a function expression', fn('function (x) { return x * 2 }')],
    ['one that calls itself', fn('function f(x) { return x > 40 ? 42 : f(x * 2) }')],
    ['a method', method('run(x) { return x * 2 }')],
    ['a method with a computed name', method('["r" + "un"](x) { return x * 2 }')],
    ['blocks', fn('(x) => { const a = 1; { let b = a; var c = b } return x * c * 2 }')],
    [
      'inner functions',
      fn('(x) => { function d() { return new E().v } class E { v = 2 } return x * d() }'),
    ],
    [
      'loops',
      fn(
        '(x) => { let c = 0; for (const i of [1, 2]) c += i / i; for (let k in {}) c = k; return x * c }',
      ),
    ],
    ['catch', fn('(x) => { try { throw { two: 2 } } catch ({ two }) { return x * two } }')],
    [
      'destructuring',
      fn('(x, { a = 2, ...rest } = {}, [b] = [a]) => x * b + Object.keys(rest).length'),
    ],
    [
      'labels, members and keys',
      fn('(x) => { outer: for (;;) { break outer } const o = { free: 2 }; return x * o.free }'),
    ],
    [
      'globals of Node',
      fn('(x) => { Buffer.from([1]); new URL("a:b"); return structuredClone(x) * 2 }'),
    ],
    ['a question', fn('(x) => typeof neverHeardOf === "undefined" ? x * 2 : 0')],
    ['arguments', fn('function () { return arguments[0] * 2 }')],
    ['hoisting', fn('(x) => { y = x; return twice(); function twice() { return y * 2 } var y }')],
    [
      'class members',
      fn(
        '(x) => { class A { #v = x; static s = 2; get v() { return this.#v } } return new A().v * A.s }',
      ),
    ],
    [
      'super in a class',
      fn(
        '(x) => { class A { v() { return x } } class B extends A { v() { return super.v() * 2 } } return new B().v() }',
      ),
    ],
  ])('travels: %s', (_, f) => {
    expect(call(selfContainedSource(f, 'it'), 21)).toBe(42)
  })

  it('travels when it is asynchronous, and may import node: modules', async () => {
    const importing = fn('async (x) => (await import("node:path")).basename(x)')
    expect(selfContainedSource(importing, 'it')).toContain('node:path')
    const source = selfContainedSource(method('async run(x) { return x * 2 }'), 'it')
    expect(await call(source, 21)).toBe(42)
  })

  it('gets the helper that keeps names', () => {
    const source = selfContainedSource(
      fn('(x) => { const f = __name(() => x * 2, "f"); return f() }'),
      'it',
    )
    expect(call(source, 21)).toBe(42)
  })
})

describe('a closure', () => {
  it.each([
    ['one name', '(x) => x * factor', ['factor']],
    ['two names', '(x) => helper(x) + offset', ['helper', 'offset']],
    ['a name in a default', '(x, y = outer) => x + y', ['outer']],
    ['a name that is local elsewhere only', '(x) => { { let a = 1 } return a }', ['a']],
    ['an assignment', '(x) => { total += x }', ['total']],
    ['a short-hand key', '(x) => ({ x, other })', ['other']],
    ['a computed member', '(x) => x[key]', ['key']],
    ['require', '(x) => require("fs")', ['require']],
    ['a tagged template', '(x) => html`<b>`', ['html']],
    ['a base class', '(x) => { class A extends Base {} return new A() }', ['Base']],
  ])('is refused, naming it: %s', (_, source, names) => {
    expect(() => selfContainedSource(fn(source), 'run() of the task "t"')).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_TASK_CLOSURE',
        details: { names },
        message: expect.stringMatching(
          /^run\(\) of the task "t" uses `.*ctx\.args.*module: import\.meta\.url/,
        ),
      }),
    )
  })

  it('is refused for an import that is not there on a worker', () => {
    expect(() => selfContainedSource(fn('async () => import("lodash")'), 'f')).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_TASK_CLOSURE', details: { names: ['lodash'] } }),
    )
  })

  it('is refused for super', () => {
    expect(() => selfContainedSource(method('run(x) { return super.run(x) }'), 'f')).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_TASK_CLOSURE' }),
    )
  })

  it('is something else for a bound or built-in function', () => {
    for (const f of [Math.sqrt, fn('(x) => x').bind(undefined)]) {
      expect(() => selfContainedSource(f as AnyFunction, 'f')).toThrow(
        expect.objectContaining({
          code: 'ERR_MESH_TASK_INVALID',
          message: expect.stringContaining('(item) => Math.sqrt(item)'),
        }),
      )
    }
  })
})

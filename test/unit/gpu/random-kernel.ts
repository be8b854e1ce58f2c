/** Kernels at random, of numbers that an f32 holds exactly. Some are refused, as gpu.js would read them otherwise. */
import type { Random } from '../fuzz/random.ts'

/** What each of them may be given, whatever its output: b of 8, m of 4 × 2, p perItem, n = 3, f = 1.25. */
export const PARAMS = 'b, m, p, n, f'
export const CONSTANTS = { k: 4, half: 0.5 }

export class RandomKernel {
  private readonly random: Random
  private readonly axes: readonly string[]
  private readonly scopes: { names: string[]; changing: string[] }[] = []
  private count = 0

  constructor(random: Random, dimensions: number) {
    this.random = random
    this.axes = ['x', 'y', 'z'].slice(0, dimensions)
  }

  source(): string {
    const body = this.block(2 + this.random.int(6), false, [], `return ${this.number(2)}`)
    return `function (${PARAMS}) {\n${body}}`
  }

  private block(statements: number, inLoop: boolean, names: readonly string[], end = ''): string {
    this.scopes.push({ names: [...names], changing: [] })
    let text = ''
    for (let i = 0; i < statements; i++) text += `${this.statement(inLoop)}\n`
    this.scopes.pop()
    return `${text}${end}\n`
  }

  private get names(): string[] {
    return this.scopes.flatMap(({ names }) => names)
  }

  private get changing(): string[] {
    return this.scopes.flatMap(({ changing }) => changing)
  }

  private one(...choices: (() => string)[]): string {
    return this.random.pick(choices)()
  }

  /** A name that is free here: often one that was used in a block before. */
  private declare(kind: string, value: string): string {
    const short = this.random.pick(['a', 'c', 'd', 'e', 'g'])
    const name = this.names.includes(short) ? `${short}${++this.count}` : short
    const scope = this.scopes.at(-1)!
    scope.names.push(name)
    if (kind !== 'const') scope.changing.push(name)
    return `${kind} ${name} = ${value}`
  }

  private statement(inLoop: boolean): string {
    const { random } = this
    const deep = this.scopes.length > 3
    const change = (text: (name: string) => string) =>
      this.changing.length === 0 ? ';' : text(random.pick(this.changing))
    return this.one(
      () => this.declare(random.pick(['let', 'const', 'var']), this.number(2)),
      () => this.declare('let', random.pick(['0', '1', '-1', '3', '10'])),
      () => change((name) => `${name} ${random.pick(['=', '+=', '-='])} ${this.number(2)}`),
      () =>
        change(
          (name) =>
            `${name} ${random.pick(['*=', '/=', '%='])} ${random.pick(['2', '0.5', 'this.constants.k'])}`,
        ),
      () => change((name) => random.pick([`${name}++`, `${name}--`, `++${name}`])),
      () => change((name) => `${name} ${random.pick(['=', '+=', '-='])} ${random.int(4)}`),
      () => (deep ? ';' : this.choice(inLoop)),
      () => `if (${this.condition(1)}) return ${this.number(1)}`,
      () =>
        inLoop ? `if (${this.condition(1)}) ${random.pick(['break', 'break', 'continue'])}` : ';',
      () => (deep ? ';' : this.forLoop()),
      () => (deep ? ';' : this.whileLoop()),
    )
  }

  private choice(inLoop: boolean): string {
    const start = `if (${this.condition(1)}) {\n${this.block(2, inLoop, [])}}`
    return this.random.oneIn(2) ? start : `${start} else {\n${this.block(2, inLoop, [])}}`
  }

  private forLoop(): string {
    const { random } = this
    const i = ['i', 'j', 'k'].find((name) => !this.names.includes(name))
    if (i === undefined) return ';'
    const head = random.pick([
      `let ${i} = 0; ${i} < ${random.int(5)}; ${i}++`,
      `let ${i} = 0; ${i} < n; ${i}++`,
      `let ${i} = 4; ${i} > 0; ${i}--`,
      `let ${i} = 0; ${i} < this.constants.k - 1; ${i} += 1`,
      `var ${i} = 0.5; ${i} < 3; ${i} += 0.5`,
      `let ${i} = n; ${i} >= 1; --${i}`,
      `let ${i} = 1; ${i} <= this.output.x - 1; ${i} *= 2`,
      `let ${i} = -2; ${i} < 2; ${i}++`,
      `let ${i} = this.thread.x; ${i} < 4; ${i}++`,
      `let ${i} = 0, ${i}1 = ${random.int(4)}; ${i} < 3; ${i}++`,
    ])
    return `for (${head}) {\n${this.block(2, true, [i])}}`
  }

  private whileLoop(): string {
    const w = `w${++this.count}`
    this.scopes.at(-1)!.names.push(w)
    const body = `${w} += 1\n${this.block(2, true, []).replaceAll('continue', 'break')}`
    return this.random.oneIn(2)
      ? `let ${w} = 0\nwhile (${w} < 3) {\n${body}}`
      : `let ${w} = 0\ndo {\n${body}} while (${w} < 3)`
  }

  private number(depth: number): string {
    const { random, names } = this
    const again = () => this.number(depth - 1)
    if (depth <= 0) {
      return this.one(
        () => String(random.int(5)),
        () => random.pick(['0.5', '1.5', '0.25', '3', '2.0', '0x3']),
        () => `this.thread.${random.pick(this.axes)}`,
        () => `this.output.${random.pick(this.axes)}`,
        () => random.pick(['this.constants.k', 'this.constants.half']),
        () => random.pick(['n', 'f']),
        () => (names.length === 0 ? '1' : random.pick(names)),
        () => (names.length === 0 ? '2' : random.pick(names)),
      )
    }
    return this.one(
      () => `(${again()} ${random.pick(['+', '-', '*'])} ${again()})`,
      () => `${this.number(0)} ${random.pick(['+', '-'])} ${again()}`,
      () => `(${again()} / ${random.pick(['2', '4', '0.5'])})`,
      () => `(${again()} % ${random.pick(['3', '4', '7', 'this.constants.k'])})`,
      () =>
        `Math.${random.pick(['floor', 'ceil', 'abs', 'round', 'trunc', 'sign', 'fround'])}(${again()})`,
      () => `Math.${random.pick(['min', 'max'])}(${again()}, ${again()})`,
      () => `(${this.condition(depth - 1)} ? ${again()} : ${again()})`,
      () =>
        `(${again()} ${random.pick(['&', '|', '^'])} ${random.pick(['1', '3', '6', '(5 & 3)', 'this.thread.x', 'this.constants.k'])})`,
      () => `(${again()} ${random.pick(['>>', '<<'])} ${random.pick(['1', '2'])})`,
      () => `((${again()} & 255) >>> ${random.pick(['1', '2'])})`,
      () => `(${random.pick(['-', '~', '+'])}${again()})`,
      () => `b[${this.index(depth - 1, 8)}]`,
      () => `m[${this.index(depth - 1, 2)}][${this.index(depth - 1, 4)}]`,
      () => `p[this.thread.${this.axes.at(-1)}]`,
      () => this.number(0),
    )
  }

  private index(depth: number, below: number): string {
    return this.one(
      () => String(this.random.int(below)),
      () => `Math.floor(Math.abs(${this.number(depth)})) % ${below}`,
      () => `(${this.number(depth)} & ${below - 1})`,
      () => `Math.min(${below - 1}, Math.floor(Math.abs(${this.number(depth)})))`,
      () => `Math.floor(Math.abs(${this.number(depth)}) % ${below})`,
    )
  }

  private condition(depth: number): string {
    const compare = this.random.pick(['<', '>', '<=', '>=', '===', '!==', '=='])
    if (depth <= 0) return `${this.number(0)} ${compare} ${this.number(0)}`
    const again = () => this.condition(depth - 1)
    return this.one(
      () => `${this.number(depth)} ${compare} ${this.number(depth - 1)}`,
      () => `(${again()} ${this.random.pick(['&&', '||'])} ${again()})`,
      () => `!(${again()})`,
    )
  }
}

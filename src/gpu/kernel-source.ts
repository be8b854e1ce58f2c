/**
 * The source of a kernel, which may come from another peer, before anything compiles it. It must be one function whose syntax is all
 * on a list of what gpu.js has on WebGPU and on WebAssembly, with the same meaning on both and in JavaScript. gpu.js' own parser is
 * no sandbox: what it cannot compile, it runs as JavaScript.
 */
import {
  type AnyNode,
  type Comment,
  type FunctionExpression,
  type Options,
  parseExpressionAt,
} from 'acorn'
import { MAX_ARGS, MAX_DEPTH, MAX_SOURCE_CHARS } from './kernel-limits.ts'
import { refuseSyntax } from './kernel-refusals.ts'
import { Check, invalid, type KernelFacts, type Site } from './kernel-scope.ts'
import { statements } from './kernel-statements.ts'

/** A source that may be compiled once it is rewritten. */
export interface CheckedKernel {
  readonly source: string
  readonly params: readonly string[]
  /** Where the rewriting adds to the list of parameters: from behind the last one to the `)`. */
  readonly listEnd: { readonly start: number; readonly end: number }
  /** What the rewriting changes, in no order; none is inside another. */
  readonly sites: readonly Site[]
}

/** As gpu.js parses it. */
const PARSING: Options = { ecmaVersion: 2020, sourceType: 'script' }

const HEAD = /^function\s*\(([A-Za-z0-9_,\s]*)\)\s*$/

/**
 * Checks `function (a, b) { … }` with all that a kernel's spec says of it.
 * @throws ERR_MESH_KERNEL_INVALID with line and column of the first fault, and what would be right.
 */
export function checkKernelSource(source: string, facts: KernelFacts): CheckedKernel {
  const check = new Check(source, facts)
  const { fn, comments } = parse(check)
  for (const { start, end, value } of comments) {
    check.sites.push({ start, end, text: /[\n\r\u2028\u2029]/.test(value) ? '\n' : ' ' })
  }
  const params = parameters(check, fn)
  check.learnChanges(fn)
  const returns = check.scoped(fn, () => check.nested(fn, () => statements(check, fn.body.body)))
  if (!returns) {
    check.refuse(
      fn.body.end - 1,
      'not every way through the kernel returns a number: end it with `return …`',
    )
  }
  const end = source.lastIndexOf(')', fn.body.start)
  const start = fn.params.at(-1)?.end ?? source.indexOf('(') + 1
  return { source, params, listEnd: { start, end }, sites: check.sites }
}

function parse(check: Check): { fn: FunctionExpression; comments: Comment[] } {
  const { source } = check
  if (typeof source !== 'string') check.refuse(0, 'its source is not a string')
  if (source.length > MAX_SOURCE_CHARS) {
    throw invalid(
      '',
      0,
      `its source has ${source.length} characters, more than ${MAX_SOURCE_CHARS}: split it into several kernels`,
      check.facts.name,
    )
  }
  const comments: Comment[] = []
  const fn = parseOne(check, comments)
  if (fn.type === 'ArrowFunctionExpression') {
    check.refuse(fn, 'an arrow function cannot be a kernel: write `function (a, b) { … }`')
  }
  if (fn.type !== 'FunctionExpression')
    check.refuse(fn, 'a kernel is one function: write `function (a, b) { … }`')
  if (fn.async) check.refuse(fn, 'a kernel cannot be async: write `function (a, b) { … }`')
  if (fn.generator)
    check.refuse(fn, 'a kernel cannot be a generator: write `function (a, b) { … }`')
  if (fn.end !== source.length) check.refuse(fn.end, 'nothing may follow the function')
  onlyPlainCharacters(check, comments)
  return { fn, comments }
}

function parseOne(check: Check, comments: Comment[]): AnyNode {
  const { source } = check
  refuseDeepBrackets(check)
  try {
    return parseExpressionAt(source, 0, { ...PARSING, onComment: comments })
  } catch (error) {
    if (error instanceof SyntaxError && 'pos' in error) {
      check.refuse(Number(error.pos), error.message.replace(/ \(\d+:\d+\)$/, ''))
    }
    if (error instanceof RangeError) check.refuse(0, `it is nested more than ${MAX_DEPTH} deep`)
    throw error
  }
}

/** Before a parser that recurses sees them. What stands in comments counts too: who would write so many there? */
function refuseDeepBrackets(check: Check): void {
  let depth = 0
  for (let i = 0; i < check.source.length; i++) {
    const char = check.source[i]!
    if (char === '(' || char === '[' || char === '{') depth++
    if (char === ')' || char === ']' || char === '}') depth--
    if (depth > 2 * MAX_DEPTH)
      check.refuse(i, `this is nested more than ${MAX_DEPTH} deep: put parts into variables`)
  }
}

/** Escapes would spell a name in a way that no list of names knows; `<!--` is a comment to some parsers. */
function onlyPlainCharacters(check: Check, comments: readonly Comment[]): void {
  let code = check.source
  for (const { start, end } of comments) {
    // `<!--` and a `-->` that begins a line.
    if (code[start] !== '/') continue
    code = code.slice(0, start) + ' '.repeat(end - start) + code.slice(end)
  }
  const found = /[^\t\n\r -~]|\\|<!--|-->/.exec(code)
  if (found === null) return
  const [text] = found
  const what =
    text === '\\'
      ? 'a backslash'
      : text.length > 1
        ? `"${text}"`
        : `the character ${JSON.stringify(text)}`
  check.refuse(found.index, `${what} cannot be used in a kernel outside of comments`)
}

function parameters(check: Check, fn: FunctionExpression): string[] {
  const { facts, source } = check
  const names = fn.params.map((param) => {
    if (param.type !== 'Identifier') return refuseSyntax(check, param)
    check.checkName(param)
    return param.name
  })
  const head = source.slice(0, fn.body.start)
  // gpu.js reads the list again, by a pattern of its own.
  if (!HEAD.test(head)) {
    check.refuse(
      0,
      'a kernel begins with `function (a, b) {`: without a name, and without comments in the list',
    )
  }
  if (names.length > MAX_ARGS) {
    check.refuse(
      fn.params[MAX_ARGS]!,
      `a kernel has at most ${MAX_ARGS} arguments: join arrays into one`,
    )
  }
  if (names.length !== facts.args.length) {
    check.refuse(
      0,
      `it takes ${names.length} argument${names.length === 1 ? '' : 's'} (${names.join(', ') || 'none'}), but ${facts.args.length} ${facts.args.length === 1 ? 'is' : 'are'} given`,
    )
  }
  names.forEach((name, i) => {
    if (check.params.has(name))
      check.refuse(fn.params[i]!, `"${name}" is the name of two arguments`)
    check.params.set(name, facts.args[i]!)
  })
  return names
}

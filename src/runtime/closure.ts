/** Finds what a function's source uses but does not define: such a function cannot travel by its source. */
import { parseExpressionAt } from 'acorn'
import { MeshError } from '../base/errors.ts'
import { GLOBAL_NAMES } from './globals.ts'
import { freeNames, type SyntaxNode } from './scope.ts'

/** esbuild and tsx wrap functions in this helper to keep their names; a bundle gets a copy of it. */
const KEEP_NAMES_HELPER = '__name'

/**
 * The source of `fn` as a self-contained expression, ready to stand behind `run:`.
 * @throws ERR_MESH_TASK_CLOSURE naming what it closes over, ERR_MESH_TASK_INVALID for a bound or native function.
 */
export function selfContainedSource(fn: (...args: never[]) => unknown, what: string): string {
  const source = Function.prototype.toString.call(fn)
  const { expression, tree } = parseFunction(source, what)
  const { free, imports, usesSuper } = freeNames(tree)
  if (usesSuper) {
    throw closure(`${what} uses super, which does not travel with a function's source`, ['super'])
  }
  const missing = [...free].filter((name) => !GLOBAL_NAMES.has(name) && name !== KEEP_NAMES_HELPER)
  if (missing.length > 0) throw closure(explain(missing, what), missing)
  const foreign = [...imports].filter((name) => !name.startsWith('node:'))
  if (foreign.length > 0) {
    throw closure(
      `${what} imports ${list(foreign)}, which a worker does not have: put the task in a file of its own, or give it module: import.meta.url, so that its imports are bundled (node: modules may be imported)`,
      foreign,
    )
  }
  return free.has(KEEP_NAMES_HELPER)
    ? `((${KEEP_NAMES_HELPER}) => (${expression}))((fn) => fn)`
    : `(${expression})`
}

/** A function's own text is an expression, or a method as it stands in an object or a class. */
function parseFunction(source: string, what: string): { expression: string; tree: SyntaxNode } {
  const asMethod = `{${source.replace(/^static\s+/, '')}}`
  for (const [text, isMethod] of [
    [`(${source})`, false],
    [`(${asMethod})`, true],
  ] as const) {
    try {
      const tree = parseExpressionAt(text, 0, {
        ecmaVersion: 'latest',
        sourceType: 'module',
        allowAwaitOutsideFunction: false,
      }) as unknown as SyntaxNode
      if (!isMethod) return { expression: source, tree }
      // The property's name may be computed or a number: take the only value that there is.
      return { expression: `Object.values(${asMethod})[0]`, tree }
    } catch {
      // Not of this form.
    }
  }
  throw new MeshError(
    'ERR_MESH_TASK_INVALID',
    /\[native code\]\s*\}\s*$/.test(source)
      ? `${what} is a bound or built-in function, whose source cannot be sent: wrap it, as in (item) => Math.sqrt(item)`
      : `${what} has a source that cannot be read back as a function`,
  )
}

function explain(names: readonly string[], what: string): string {
  const extra = names.includes('require')
    ? ' (for Node modules: const { readFile } = await import("node:fs/promises"))'
    : ''
  return `${what} uses ${list(names)}, which ${names.length === 1 ? 'is' : 'are'} defined outside of it and would not be there on a worker: pass ${names.length === 1 ? 'it' : 'them'} in the items or through args (ctx.args), define ${names.length === 1 ? 'it' : 'them'} inside the function, or give the task module: import.meta.url so that its module is bundled${extra}`
}

function closure(message: string, names: readonly string[]): MeshError {
  return new MeshError('ERR_MESH_TASK_CLOSURE', message, { details: { names } })
}

function list(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(', ')
}

/** What a bundle's default export is, told by its text: nothing of it is run. */
import { type Expression, type Program, parse, type SpreadElement } from 'acorn'

/**
 * `kernel`, `task`: what defineKernel or defineTask returns. `function`: a function or class. `fields`: an object with a function `kernel`,
 * which nobody gave to defineKernel. `none`: there is no default export. `unknown`: only running it tells.
 */
type Kind = 'kernel' | 'task' | 'function' | 'fields' | 'none' | 'unknown'

export interface DefaultExport {
  readonly kind: Kind
  /** Other names under which it exports kernels. */
  readonly kernels: readonly string[]
}

/** Names may stand for names; a bundle has no longer ways than this. */
const MAX_ALIASES = 8

/** `text`: an ES module as esbuild bundles one, whose exports are a list at its end. */
export function defaultExportOf(text: string): DefaultExport {
  let program: Program
  try {
    program = parse(text, { ecmaVersion: 'latest', sourceType: 'module', allowHashBang: true })
  } catch {
    return { kind: 'unknown', kernels: [] }
  }
  const names = topLevel(program)
  let kind: Kind = 'none'
  const kernels: string[] = []
  for (const node of program.body) {
    // So a CommonJS file begins: what it exports is made when it is run.
    if (node.type === 'ExportDefaultDeclaration') kind = 'unknown'
    if (node.type !== 'ExportNamedDeclaration') continue
    for (const { exported, local } of node.specifiers) {
      if (exported.type !== 'Identifier' || local.type !== 'Identifier') continue
      const found = kindOf(local, names)
      if (exported.name === 'default') kind = found
      else if (found === 'kernel') kernels.push(exported.name)
    }
  }
  return { kind, kernels }
}

type Names = ReadonlyMap<string, Expression | 'function'>

/** What the names at the top level stand for. */
function topLevel({ body }: Program): Names {
  const names = new Map<string, Expression | 'function'>()
  for (const node of body) {
    if (node.type === 'FunctionDeclaration' || node.type === 'ClassDeclaration') {
      if (node.id) names.set(node.id.name, 'function')
    } else if (node.type === 'VariableDeclaration') {
      for (const { id, init } of node.declarations) {
        if (id.type === 'Identifier' && init) names.set(id.name, init)
      }
    }
  }
  return names
}

function kindOf(value: Expression, names: Names): Kind {
  let found: Expression | 'function' | undefined = value
  for (let i = 0; i < MAX_ALIASES && found !== 'function' && found?.type === 'Identifier'; i++) {
    found = names.get(found.name)
  }
  if (found === undefined) return 'unknown'
  if (found === 'function') return 'function'
  switch (found.type) {
    case 'FunctionExpression':
    case 'ArrowFunctionExpression':
    case 'ClassExpression':
      return 'function'
    case 'ObjectExpression':
      return found.properties.some(isKernelField) ? 'fields' : 'unknown'
    case 'CallExpression': {
      const name = nameOf(found.callee)
      return name === 'defineKernel' ? 'kernel' : name === 'defineTask' ? 'task' : 'unknown'
    }
    default:
      return 'unknown'
  }
}

/** `kernel: function …`, `kernel(a) { … }` */
function isKernelField(property: SpreadElement | { key?: unknown; value?: unknown }): boolean {
  if (!('key' in property)) return false
  const { key, value } = property as { key: Expression; value: Expression }
  return key.type === 'Identifier' && key.name === 'kernel' && /Function/.test(value.type)
}

/** `f` of f(), m.f() and (0, m.f)(). */
function nameOf(callee: { readonly type: string }): string | undefined {
  const node = callee as Expression
  if (node.type === 'Identifier') return node.name
  if (node.type === 'ParenthesizedExpression') return nameOf(node.expression)
  if (node.type === 'SequenceExpression') return nameOf(node.expressions.at(-1)!)
  if (node.type !== 'MemberExpression' || node.property.type !== 'Identifier') return undefined
  return node.property.name
}

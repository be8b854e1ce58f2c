/** What to write in place of JavaScript that no kernel may hold. */
import type { AnyNode } from 'acorn'
import type { Check } from './kernel-scope.ts'

const FUNCTION =
  'a kernel is one function without others inside: write what the function does in its place'
const PATTERN = 'a plain name belongs here: neither destructuring, nor a default, nor `...`'
const OBJECT = 'a kernel knows numbers alone: pass objects apart, as numbers and arrays'
const MODULE = 'import and export belong around the kernel, not into it'
const CLASS = 'a kernel has no classes'
const ERRORS = 'a kernel has no exceptions: return a number that means it, such as -1'

const REFUSED: Readonly<Record<string, string>> = {
  ArrayExpression: 'a kernel has no arrays of its own: use one variable for each component',
  ArrayPattern: PATTERN,
  ArrowFunctionExpression: FUNCTION,
  AssignmentExpression: 'an assignment must be a statement of its own',
  AssignmentPattern: PATTERN,
  AwaitExpression: 'a kernel cannot wait: all that it reads must be there before it starts',
  CatchClause: ERRORS,
  ChainExpression: 'write `.` and `[…]` in place of `?.`: nothing is null in a kernel',
  ClassDeclaration: CLASS,
  ClassExpression: CLASS,
  DebuggerStatement: 'a kernel cannot be stopped by `debugger`: take it out',
  ExportDefaultDeclaration: MODULE,
  ForInStatement: 'write `for (let i = 0; i < …; i++)` in place of for…in',
  ForOfStatement: 'write `for (let i = 0; i < …; i++)` in place of for…of',
  FunctionDeclaration: FUNCTION,
  FunctionExpression: FUNCTION,
  ImportExpression: MODULE,
  LabeledStatement: 'a kernel has no labels: use a variable that tells the outer loop to end',
  MetaProperty: MODULE,
  NewExpression: 'nothing can be made with `new` in a kernel',
  ObjectExpression: OBJECT,
  ObjectPattern: PATTERN,
  ParenthesizedExpression: 'leave the parentheses out',
  RestElement: PATTERN,
  SequenceExpression: 'a comma belongs between arguments and variables only: write two statements',
  SpreadElement: '`...` cannot be used in a kernel: write each argument',
  Super: CLASS,
  SwitchStatement: 'gpu.js gets switch wrong where cases run on: use if and else',
  TaggedTemplateExpression: 'a kernel has no strings',
  TemplateLiteral: 'a kernel has no strings',
  ThisExpression:
    'of `this`, a kernel sees this.thread.x, .y, .z, this.output.x, .y, .z and this.constants.NAME',
  ThrowStatement: ERRORS,
  TryStatement: ERRORS,
  UpdateExpression: '++ and -- must be statements of their own, or the last part of a for',
  WithStatement: 'a kernel has no `with`',
  YieldExpression: 'a kernel returns once: it has no `yield`',
}

/** @throws ERR_MESH_KERNEL_INVALID always. */
export function refuseSyntax(check: Check, node: AnyNode): never {
  if (node.type === 'Literal') {
    if (typeof node.value === 'string') check.refuse(node, 'a kernel has no strings')
    if (node.bigint !== undefined) check.refuse(node, `write the number without the n`)
    return check.refuse(node, 'only numbers can be written here')
  }
  if (node.type === 'MemberExpression') return check.refuse(node, REFUSED.ChainExpression!)
  if (node.type === 'UnaryExpression' || node.type === 'BinaryExpression') {
    return check.refuse(
      node,
      `a device has no \`${node.operator}\`; it compares and computes numbers`,
    )
  }
  const known = Object.hasOwn(REFUSED, node.type) ? REFUSED[node.type] : undefined
  return check.refuse(node, known ?? 'this cannot be used in a kernel')
}

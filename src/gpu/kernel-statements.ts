/** Statements of a kernel. Each function tells whether its statement always returns. */
import type {
  AnyNode,
  AssignmentExpression,
  Expression,
  ExpressionStatement,
  ForStatement,
  Identifier,
  Statement,
  UpdateExpression,
  VariableDeclaration,
} from 'acorn'
import { conditionAt, numberAt } from './kernel-expressions.ts'
import { MAX_INTEGER } from './kernel-limits.ts'
import { forLoop, whileLoop } from './kernel-loops.ts'
import { thisPath } from './kernel-members.ts'
import { refuseSyntax } from './kernel-refusals.ts'
import {
  AXIS_NAMES,
  type Axis,
  type Change,
  type Check,
  type Local,
  type Loop,
} from './kernel-scope.ts'
import { ASSIGNMENTS } from './kernel-words.ts'

export function statements(check: Check, list: readonly Statement[]): boolean {
  let returns = false
  for (const one of list) returns = statement(check, one) || returns
  return returns
}

function statement(check: Check, node: Statement): boolean {
  return check.nested(node, () => visit(check, node))
}

/** A statement under `if` or in a loop, with or without braces. */
function branch(check: Check, node: Statement): boolean {
  if (node.type === 'VariableDeclaration') {
    check.refuse(node, 'nobody sees a variable that is declared here: put it before, or use { }')
  }
  return node.type === 'BlockStatement'
    ? statement(check, node)
    : check.scoped(node, () => statement(check, node))
}

function visit(check: Check, node: Statement): boolean {
  switch (node.type) {
    case 'EmptyStatement':
      return false
    case 'BlockStatement':
      return check.scoped(node, () => statements(check, node.body))
    case 'VariableDeclaration':
      declarations(check, node)
      return false
    case 'ExpressionStatement':
      expressionStatement(check, node)
      return false
    case 'ReturnStatement':
      if (!node.argument) check.refuse(node, 'a kernel returns a number: write `return …`')
      numberAt(check, node.argument)
      return true
    case 'IfStatement': {
      conditionAt(check, node.test)
      const first = branch(check, node.consequent)
      return node.alternate ? branch(check, node.alternate) && first : false
    }
    case 'ForStatement':
      check.scoped(node, () => forStatement(check, node))
      return false
    case 'WhileStatement':
    case 'DoWhileStatement':
      conditionAt(check, node.test)
      body(check, node.body, whileLoop(check, node))
      return false
    case 'BreakStatement':
    case 'ContinueStatement':
      leave(check, node)
      return false
    default:
      return refuseSyntax(check, node)
  }
}

function leave(check: Check, node: Statement): void {
  if (node.type !== 'BreakStatement' && node.type !== 'ContinueStatement') return
  if (node.label)
    check.refuse(node, 'a kernel has no labels: use a variable that tells the outer loop to end')
  const loop = check.loops.at(-1)
  const fault = node.type === 'ContinueStatement' ? loop?.noContinue : undefined
  if (fault !== undefined) check.refuse(node, fault)
}

function body(check: Check, node: Statement, loop: Loop): void {
  check.loops.push(loop)
  branch(check, node)
  check.loops.pop()
}

function forStatement(check: Check, node: ForStatement): void {
  const { init, test, update } = node
  if (init?.type === 'VariableDeclaration') declarations(check, init)
  else if (init) {
    check.refuse(init, 'a for declares its counter: write `for (let i = …; …; …)`')
  }
  if (test) conditionAt(check, test)
  if (update?.type === 'AssignmentExpression') assignment(check, update)
  else if (update?.type === 'UpdateExpression') step(check, update)
  else if (update)
    check.refuse(update, 'the last part of a for changes one variable: `i++`, `i += 2`')
  body(check, node.body, forLoop(check, node))
}

function expressionStatement(check: Check, { expression: node, end }: ExpressionStatement): void {
  if (node.type === 'AssignmentExpression') assignment(check, node)
  // `a--`, a line end and `(b)` are two statements, but `a -= 1`, a line end and `(b)` are a call.
  else if (node.type === 'UpdateExpression') step(check, node, node.end === end ? ';' : '')
  else if (
    node.type === 'Identifier' ||
    node.type === 'Literal' ||
    node.type === 'CallExpression'
  ) {
    numberAt(check, node)
    check.refuse(node, 'nothing comes of this: assign it, return it, or take it out')
  } else {
    refuseDiscarded(check, node)
  }
}

function refuseDiscarded(check: Check, node: Expression): never {
  const computes = [
    'BinaryExpression',
    'LogicalExpression',
    'ConditionalExpression',
    'MemberExpression',
    'UnaryExpression',
  ]
  if (!computes.includes(node.type)) return refuseSyntax(check, node)
  return check.refuse(node, 'nothing comes of this: use if and an assignment, or take it out')
}

function declarations(check: Check, node: VariableDeclaration): void {
  for (const { id, init } of node.declarations) {
    if (id.type !== 'Identifier') refuseSyntax(check, id)
    if (!init) check.refuse(id, `give "${id.name}" a value: \`let ${id.name} = 0\``)
    const value = numberAt(check, init)
    const uses = usesOf(check, id)
    const fixed = value.fixed !== undefined && Math.abs(value.fixed) <= MAX_INTEGER
    const thread = uses.changed ? undefined : threadAxis(check, init)
    check.declare(id, {
      readOnly: node.kind === 'const',
      kind: fixed && uses.counter ? 'int' : 'float',
      whole: (fixed && uses.counter) || (value.whole && !uses.changed),
      ...(thread === undefined ? {} : { thread }),
    })
  }
  // One kind of declaration is one way through gpu.js, whose `var` is of the whole function.
  if (node.kind === 'let') return
  check.sites.push({ start: node.start, end: node.start + node.kind.length, text: 'let' })
}

function threadAxis(check: Check, init: Expression): Axis | undefined {
  const own = thisPath(init)
  if (own?.room === 'thread') return AXIS_NAMES.indexOf(own.name as 'x') as Axis
  return init.type === 'Identifier' ? check.find(init.name)?.thread : undefined
}

/**
 * What happens to a variable where it can be seen. gpu.js makes an i32 of one that starts with a whole literal and has `++`, and cuts
 * the fraction off all that it is given later. A `counter` never gets one.
 */
function usesOf(check: Check, id: Identifier): { changed: boolean; counter: boolean } {
  const changes = check.changesOf(id, check.scopeNode)
  const counts = changes.some((node) => node.type === 'UpdateExpression' && node.operator === '++')
  return { changed: changes.length > 0, counter: counts && changes.every(isExact) }
}

function isExact(node: Change): boolean {
  if (node.type === 'UpdateExpression') return true
  const { operator, right } = node
  if (operator !== '=' && operator !== '+=' && operator !== '-=') return false
  if (right.type !== 'Literal' || typeof right.value !== 'number') return false
  return Number.isInteger(right.value) && right.value <= MAX_INTEGER
}

function assignment(check: Check, node: AssignmentExpression): void {
  const { operator, left, right } = node
  const local = target(check, left)
  if (!ASSIGNMENTS.has(operator)) {
    check.refuse(
      node,
      `write \`${local.name} = ${local.name} ${operator.slice(0, -1)} …\` in place of ${operator}`,
    )
  }
  numberAt(check, right)
}

function step(check: Check, node: UpdateExpression, end = ''): void {
  const local = target(check, node.argument)
  // WGSL counts integers alone.
  if (local.kind === 'int') return
  check.mark({
    start: node.start,
    end: node.end,
    text: `${local.emitted} ${node.operator[0]}= 1${end}`,
  })
}

/** The variable that is changed. */
function target(check: Check, node: AnyNode): Local {
  if (node.type === 'MemberExpression') {
    check.refuse(node, 'only variables can be assigned: a kernel returns its one element')
  }
  if (node.type !== 'Identifier') return refuseSyntax(check, node)
  const { name } = node
  const local = check.find(name)
  if (local === undefined) {
    if (check.params.has(name)) {
      check.refuse(node, `"${name}" is an argument: copy it first, \`let other = ${name}\``)
    }
    return check.refuse(node, `"${name}" is not declared here: write \`let ${name} = …\` before`)
  }
  if (local.readOnly) check.refuse(node, `"${name}" is a const: declare it with let`)
  check.rename(node, local)
  return local
}

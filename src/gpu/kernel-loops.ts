/**
 * Loops: how often they run at most, and which of them gpu.js cuts off. It writes a loop as it is only where the counter starts with
 * a literal and the test holds literals, constants and + and - alone (`isSafe` in its function-node.js); all others end after
 * loopMaxIterations without a word, so that here nobody may be silent about it.
 */
import type { AnyNode, Expression, ForStatement } from 'acorn'
import { evaluate } from './kernel-known.ts'
import { MAX_LOOP_ITERATIONS, UNSTATED_LOOP_ITERATIONS } from './kernel-limits.ts'
import { thisPath } from './kernel-members.ts'
import type { Check, Loop } from './kernel-scope.ts'

const STATE =
  'set loopMaxIterations to the most that it can take (gpu.js ends loops at 1000 without a word where it is not set)'

/** Call it when the parts of the head were checked. @throws ERR_MESH_KERNEL_INVALID when the loop could be cut short. */
export function forLoop(check: Check, node: ForStatement): Loop {
  const known = countOf(check, node, true)
  boundCounter(check, node, known)
  if (known !== undefined && known > MAX_LOOP_ITERATIONS) {
    check.refuse(
      node,
      `this loop runs ${known} times, more than ${MAX_LOOP_ITERATIONS}, where f32 counters stand still: put a loop into a loop`,
    )
  }
  if (runsAsWritten(check, node)) return {}
  const stated = check.facts.loopMaxIterations
  const count = stated > 0 ? known : countOf(check, node, false)
  const most = stated > 0 ? stated : UNSTATED_LOOP_ITERATIONS
  if (count === undefined && stated === 0) {
    check.refuse(node, `how often this loop runs is not plain from its head: ${STATE}`)
  }
  if (count !== undefined && count > most) {
    const limit = stated > 0 ? `loopMaxIterations is ${stated}` : 'loopMaxIterations is not set'
    check.refuse(node, `this loop runs ${count} times, but ${limit}: ${STATE}`)
  }
  return {
    noContinue:
      'a device would skip the last part of the for here: start its counter with a number, end it at a number or a constant (`for (let i = 0; i < this.constants.n; i++)`), or put the rest of the loop into an if',
  }
}

/** What the counter is at most in the loop's body. */
function boundCounter(check: Check, node: ForStatement, count: number | undefined): void {
  const { init, update } = node
  if (count === undefined || init?.type !== 'VariableDeclaration' || !update) return
  const { id, init: start } = init.declarations[0]!
  if (id.type !== 'Identifier' || !start) return
  const local = check.find(id.name)
  const from = numberOf(check, start, true)
  const next = stepOf(check, update, id.name, true)
  if (local === undefined || from === undefined || next?.operator !== '+') return
  local.most = Math.max(Math.abs(from), Math.abs(from + next.by * Math.max(0, count - 1)))
}

export function whileLoop(check: Check, node: AnyNode): Loop {
  if (check.facts.loopMaxIterations === 0) {
    check.refuse(node, `how often this loop runs is not plain: ${STATE}`)
  }
  if (node.type === 'WhileStatement') return {}
  return {
    noContinue:
      'a device would skip the test of do…while here: put the rest of the loop into an if',
  }
}

/** gpu.js gives this loop no maximum. */
function runsAsWritten(check: Check, node: ForStatement): boolean {
  const { init, test, update } = node
  if (init?.type !== 'VariableDeclaration' || init.declarations.length !== 1) return false
  if (!test || !update || test.type !== 'BinaryExpression') return false
  const { id, init: start } = init.declarations[0]!
  if (id.type !== 'Identifier' || !start || !isLiteral(check, start)) return false
  return [test.left, test.right].every((side) => isPlain(check, side, id.name))
}

/** A literal once the source is rewritten; -1 is none, but an operator and a literal. */
function isLiteral(check: Check, node: Expression): boolean {
  if (node.type === 'Literal') return true
  const value = check.values.get(node)
  if (node.type === 'UnaryExpression' || value?.is !== 'number') return false
  return value.fixed !== undefined && value.fixed >= 0
}

function isPlain(check: Check, node: AnyNode, counter: string): boolean {
  const value = check.values.get(node)
  if (value?.is === 'number' && value.fixed !== undefined) return true
  switch (node.type) {
    case 'Literal':
      return true
    case 'Identifier':
      return node.name === counter
    case 'UnaryExpression':
      return node.operator !== '~' && isPlain(check, node.argument, counter)
    case 'BinaryExpression':
      return (
        (node.operator === '+' || node.operator === '-') &&
        isPlain(check, node.left, counter) &&
        isPlain(check, node.right, counter)
      )
    default:
      return ['constants', 'output'].includes(thisPath(node)?.room ?? '')
  }
}

/** How often it runs at most, where its head tells. With `known`, numbers among the arguments count as well. */
function countOf(check: Check, node: ForStatement, known: boolean): number | undefined {
  const { init, test, update } = node
  if (init?.type !== 'VariableDeclaration' || init.declarations.length !== 1) return undefined
  const { id, init: start } = init.declarations[0]!
  if (id.type !== 'Identifier' || !start || !test || !update) return undefined
  if (check.changesOf(id, node.body).length > 0) return undefined
  const from = numberOf(check, start, known)
  const next = stepOf(check, update, id.name, known)
  if (from === undefined || next === undefined) return undefined
  const counts = conjuncts(test)
    .map((part) => boundOf(check, part, id.name, known))
    .filter((bound) => bound !== undefined)
    .map((bound) => countSteps(from, next, bound))
    .filter((count) => count !== undefined)
  return counts.length === 0 ? undefined : Math.min(...counts)
}

interface Step {
  readonly operator: '+' | '*'
  readonly by: number
}
interface Bound {
  /** The loop goes on while the counter is… */
  readonly operator: string
  readonly value: number
}

function countSteps(from: number, { operator, by }: Step, bound: Bound): number | undefined {
  const { value } = bound
  const up = bound.operator === '<' || bound.operator === '<='
  const last = bound.operator.length === 2 ? 1 : 0
  if (operator === '+') {
    if (up ? by <= 0 : by >= 0) return undefined
    const steps = (value - from) / by
    // Sums of fractions are not exact.
    const slack = Number.isInteger(by) && Number.isInteger(from) ? 0 : 1
    return Math.max(0, Number.isInteger(steps) ? steps + last : Math.ceil(steps)) + slack
  }
  if (!up || by <= 1 || from <= 0) return undefined
  return Math.max(0, Math.ceil(Math.log(value / from) / Math.log(by)) + 1)
}

function conjuncts(test: Expression): Expression[] {
  if (test.type !== 'LogicalExpression' || test.operator !== '&&') return [test]
  return [...conjuncts(test.left), ...conjuncts(test.right)]
}

const MIRRORED: Readonly<Record<string, string>> = { '<': '>', '>': '<', '<=': '>=', '>=': '<=' }

function boundOf(
  check: Check,
  test: Expression,
  counter: string,
  known: boolean,
): Bound | undefined {
  if (test.type !== 'BinaryExpression' || !(test.operator in MIRRORED)) return undefined
  const { left, right } = test
  const isLeft = left.type === 'Identifier' && left.name === counter
  const isRight = right.type === 'Identifier' && right.name === counter
  if (isLeft === isRight) return undefined
  const value = numberOf(check, isLeft ? right : left, known)
  if (value === undefined) return undefined
  return { operator: isLeft ? test.operator : MIRRORED[test.operator]!, value }
}

function stepOf(
  check: Check,
  update: Expression,
  counter: string,
  known: boolean,
): Step | undefined {
  if (update.type === 'UpdateExpression') {
    if (update.argument.type !== 'Identifier' || update.argument.name !== counter) return undefined
    return { operator: '+', by: update.operator === '++' ? 1 : -1 }
  }
  if (update.type !== 'AssignmentExpression') return undefined
  if (update.left.type !== 'Identifier' || update.left.name !== counter) return undefined
  const by = numberOf(check, update.right, known)
  if (by === undefined) return undefined
  switch (update.operator) {
    case '+=':
      return { operator: '+', by }
    case '-=':
      return { operator: '+', by: -by }
    case '*=':
      return { operator: '*', by }
    default:
      return undefined
  }
}

/** The value of an expression that is known before the kernel runs; with `known`, numbers among the arguments are. */
function numberOf(check: Check, node: AnyNode, known: boolean): number | undefined {
  return evaluate(check, node, (name) => {
    const param = known ? check.params.get(name) : undefined
    return param?.kind === 'number' ? param.value : undefined
  })
}

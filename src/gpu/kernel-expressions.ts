/** Expressions of a kernel: what they may be, how gpu.js types them, and where it would read them otherwise than JavaScript does. */
import type {
  AnyNode,
  BinaryExpression,
  CallExpression,
  ConditionalExpression,
  Identifier,
  Literal,
  UnaryExpression,
} from 'acorn'
import { counterOf, eitherOf, integerAt } from './kernel-counters.ts'
import { asInteger, foundOf, refuseLooseChoice } from './kernel-integers.ts'
import { compute, refuseUnreal } from './kernel-known.ts'
import { MAX_CHOICES, MAX_F32 } from './kernel-limits.ts'
import { memberAt, refuseMath } from './kernel-members.ts'
import { refuseSyntax } from './kernel-refusals.ts'
import {
  type Check,
  FLOAT,
  INT,
  type NumberValue,
  type Value,
  WHOLE_FLOAT,
} from './kernel-scope.ts'
import {
  ARITHMETIC,
  BITWISE,
  COMPARISONS,
  MATH_CONSTANTS,
  MATH_FUNCTIONS,
  WHOLE_RESULTS,
} from './kernel-words.ts'

const BOOLEAN: Value = { is: 'boolean' }

/** A number. @throws ERR_MESH_KERNEL_INVALID */
export function numberAt(check: Check, node: AnyNode): NumberValue {
  const value = valueAt(check, node)
  if (value.is === 'number') return value
  return check.refuse(node, 'a number belongs here, and this is true or false: write `… ? 1 : 0`')
}

/** True or false. @throws ERR_MESH_KERNEL_INVALID */
export function conditionAt(check: Check, node: AnyNode): void {
  if (valueAt(check, node).is === 'boolean') return
  check.refuse(node, 'a condition belongs here, and this is a number: compare it, as in `… !== 0`')
}

function valueAt(check: Check, node: AnyNode): Value {
  const value = check.nested(node, () => visit(check, node))
  check.values.set(node, value)
  if (value.is === 'number') refuseUnreal(check, node, value)
  return value
}

function visit(check: Check, node: AnyNode): Value {
  switch (node.type) {
    case 'Literal':
      return literalAt(check, node)
    case 'Identifier':
      return identifierAt(check, node)
    case 'MemberExpression':
      return memberAt(check, node, numberAt)
    case 'UnaryExpression':
      return unaryAt(check, node)
    case 'BinaryExpression':
      return binaryAt(check, node)
    case 'LogicalExpression':
      if (node.operator === '??') {
        check.refuse(node, 'nothing is null in a kernel: write `… ? … : …` in place of `??`')
      }
      conditionAt(check, node.left)
      conditionAt(check, node.right)
      return BOOLEAN
    case 'ConditionalExpression':
      return choiceAt(check, node)
    case 'CallExpression':
      return callAt(check, node)
    default:
      return refuseSyntax(check, node)
  }
}

function literalAt(check: Check, node: Literal): Value {
  const { value, raw = '' } = node
  if (typeof value === 'boolean') return BOOLEAN
  if (typeof value !== 'number') return refuseSyntax(check, node)
  if (
    !/^(0|[1-9][0-9]*|0[xX][0-9a-fA-F]+|([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][+-]?[0-9]+)?)$/.test(
      raw,
    ) ||
    /^0[0-9]/.test(raw)
  ) {
    check.refuse(node, `write the number ${raw} in decimal or as 0x…`)
  }
  if (!(value <= MAX_F32)) check.refuse(node, `${raw} is larger than the largest f32, 3.4028234e38`)
  if (!Number.isInteger(value)) return FLOAT
  return { is: 'number', kind: 'literal', whole: true, fixed: value }
}

function identifierAt(check: Check, node: Identifier): Value {
  const { name } = node
  const local = check.find(name)
  if (local !== undefined) {
    check.rename(node, local)
    return counterOf(local)
  }
  const param = check.params.get(name)
  if (param?.kind === 'number') return Number.isInteger(param.value) ? WHOLE_FLOAT : FLOAT
  if (param?.kind === 'array') {
    const form = '[…]'.repeat(param.size.length)
    return check.refuse(node, `"${name}" is an array: read one element of it, ${name}${form}`)
  }
  if (name === 'Infinity') {
    check.refuse(node, 'devices differ on Infinity: write the largest f32, 3.4028234e38')
  }
  if (name === 'NaN' || name === 'undefined') {
    check.refuse(node, `devices have no ${name}: write a number that means it, such as -1`)
  }
  if (name === 'Math') check.refuse(node, 'Math stands alone here: write Math.sqrt(…), Math.PI…')
  if (Object.hasOwn(check.facts.constants, name)) {
    check.refuse(node, `"${name}" is a constant: write this.constants.${name}`)
  }
  return check.refuse(
    node,
    `"${name}" is not known here: a kernel sees its arguments, the variables declared above in the same block or around it, this.thread, this.output, this.constants and Math; pass values from outside as arguments or constants`,
  )
}

function unaryAt(check: Check, node: UnaryExpression): Value {
  const { operator, argument } = node
  if (operator === '!') {
    conditionAt(check, argument)
    return BOOLEAN
  }
  if (operator === '~') {
    const { fixed } = numberAt(check, argument)
    asInteger(check, argument, 'an operand of ~')
    return fixed === undefined ? INT : folded(check, node, ~fixed)
  }
  if (operator !== '-' && operator !== '+') return refuseSyntax(check, node)
  const value = numberAt(check, argument)
  if (value.fixed === undefined) return value
  return { ...value, fixed: operator === '-' ? 0 - value.fixed : value.fixed }
}

function binaryAt(check: Check, node: BinaryExpression): Value {
  const { operator, left, right } = node
  if (operator === '**') check.refuse(node, 'write Math.pow(a, b), or a * a, in place of **')
  if (BITWISE.has(operator)) return bitwiseAt(check, node)
  if (!ARITHMETIC.has(operator) && !COMPARISONS.has(operator)) return refuseSyntax(check, node)
  const a = numberAt(check, left)
  const b = numberAt(check, right)
  if (operator === '/') return FLOAT
  if (operator === '%') return a.whole && b.whole ? WHOLE_FLOAT : FLOAT
  // gpu.js makes the other side an integer too.
  if (a.kind === 'int' && b.kind !== 'float') meetsInteger(check, right)
  if (b.kind === 'int' && a.kind !== 'float') meetsInteger(check, left)
  if (COMPARISONS.has(operator)) return BOOLEAN
  const whole = a.whole && b.whole
  if (a.fixed !== undefined && b.fixed !== undefined) {
    return folded(check, node, fold(operator, a.fixed, b.fixed))
  }
  if (a.kind === 'float' || b.kind === 'float') return { is: 'number', kind: 'float', whole }
  if (a.kind === 'int' || b.kind === 'int') return integerAt(check, node, a, b)
  // Two literals that are no plain numbers: gpu.js looks at the left one alone.
  return { is: 'number', kind: left.type === 'Literal' ? 'int' : 'float', whole }
}

/** gpu.js types a sum of literals as an integer and writes it as a float: the rewriting puts its value in its place. */
function folded(check: Check, node: AnyNode, fixed: number): Value {
  const { start, end } = node
  check.mark({ start, end, text: fixed < 0 ? `(${fixed})` : String(fixed) })
  return { is: 'number', kind: 'literal', whole: true, fixed }
}

/** 0 is added so that there is no -0. */
function fold(operator: string, a: number, b: number): number {
  return (compute(operator, a, b) ?? 0) + 0
}

function meetsInteger(check: Check, node: AnyNode): void {
  refuseLooseChoice(check, node)
  const value = foundOf(check, node)
  if (value.is === 'number' && value.kind === 'literal')
    asInteger(check, node, 'a number beside an integer')
}

function bitwiseAt(check: Check, node: BinaryExpression): Value {
  const { operator, left, right } = node
  const of = numberAt(check, left)
  asInteger(check, left, `an operand of ${operator}`)
  const by = numberAt(check, right)
  asInteger(check, right, `an operand of ${operator}`)
  const shifts = operator.length > 1
  if (shifts && by.fixed !== undefined && (by.fixed < 0 || by.fixed > 31)) {
    check.refuse(right, 'a shift is by 0 to 31 bits')
  }
  if (operator === '>>>' && !(by.fixed !== undefined && by.fixed > 0)) {
    check.refuse(
      node,
      '>>> must be by a number from 1 to 31: devices keep integers signed, so that `>>> 0` changes nothing',
    )
  }
  if (of.fixed === undefined || by.fixed === undefined) return INT
  return folded(check, node, fold(operator, of.fixed, by.fixed))
}

function choiceAt(check: Check, node: ConditionalExpression): Value {
  if (++check.choices > MAX_CHOICES) {
    check.refuse(node, `more than ${MAX_CHOICES} ?: inside each other: use if and else`)
  }
  conditionAt(check, node.test)
  const a = numberAt(check, node.consequent)
  const b = numberAt(check, node.alternate)
  check.choices--
  const whole = a.whole && b.whole
  if (a.kind === 'float' || b.kind === 'float') {
    // gpu.js takes the type of the first, but for a whole first and a fractional second.
    return { is: 'number', kind: 'float', whole }
  }
  if (a.kind === 'int') meetsInteger(check, node.alternate)
  return { ...eitherOf(a, b), kind: a.kind }
}

function callAt(check: Check, node: CallExpression): Value {
  const { callee } = node
  if (node.optional) refuseSyntax(check, node)
  if (
    callee.type !== 'MemberExpression' ||
    callee.computed ||
    callee.optional ||
    callee.object.type !== 'Identifier' ||
    callee.object.name !== 'Math' ||
    callee.property.type !== 'Identifier'
  ) {
    return check.refuse(
      node,
      'a kernel calls functions of Math alone: write what the function does in its place',
    )
  }
  const { name } = callee.property
  const arity = MATH_FUNCTIONS.get(name)
  if (arity === undefined) {
    if (MATH_CONSTANTS.has(name))
      check.refuse(node, `Math.${name} is a number: write it without ()`)
    return refuseMath(check, callee, name)
  }
  if (node.arguments.length !== arity) {
    const nest =
      arity === 2 && node.arguments.length > 2 ? `: write Math.${name}(a, Math.${name}(b, c))` : ''
    check.refuse(
      node,
      `Math.${name} takes ${arity} number${arity === 1 ? '' : 's'} and gets ${node.arguments.length}${nest}`,
    )
  }
  const values = node.arguments.map((argument) => numberAt(check, argument))
  const whole =
    WHOLE_RESULTS.has(name) ||
    (['abs', 'min', 'max', 'fround'].includes(name) && values.every((value) => value.whole))
  return whole ? WHOLE_FLOAT : FLOAT
}

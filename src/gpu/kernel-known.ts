/** Values that a source alone tells. A compiler computes them as well, and refuses a shader where one of them is no f32. */
import type { AnyNode } from 'acorn'
import { MAX_F32, MAX_INTEGER } from './kernel-limits.ts'
import { thisPath } from './kernel-members.ts'
import { AXIS_NAMES, type Check, type NumberValue } from './kernel-scope.ts'
import { MATH_CONSTANTS, MATH_FUNCTIONS } from './kernel-words.ts'

type Read = (name: string) => number | undefined

/** The value of an expression of literals, constants, extents, Math, and the arguments that `read` tells; else undefined. */
export function evaluate(check: Check, node: AnyNode, read: Read): number | undefined {
  switch (node.type) {
    case 'Literal':
      return typeof node.value === 'number' ? node.value : undefined
    case 'Identifier':
      return check.find(node.name) === undefined ? read(node.name) : undefined
    case 'MemberExpression':
      return memberValue(check, node)
    case 'UnaryExpression': {
      const value = evaluate(check, node.argument, read)
      return value === undefined ? undefined : compute(node.operator, 0, value)
    }
    case 'BinaryExpression': {
      const a = evaluate(check, node.left, read)
      const b = a === undefined ? undefined : evaluate(check, node.right, read)
      return a === undefined || b === undefined ? undefined : compute(node.operator, a, b)
    }
    case 'CallExpression': {
      const name = mathName(node.callee)
      if (name === undefined || !MATH_FUNCTIONS.has(name)) return undefined
      const values = node.arguments.map((argument) => evaluate(check, argument, read))
      if (values.some((value) => value === undefined)) return undefined
      return (Math as unknown as Record<string, (...args: unknown[]) => number>)[name]!(...values)
    }
    default:
      return undefined
  }
}

/** @throws ERR_MESH_KERNEL_INVALID when `node` has a value that no f32 has, as 1 / 0, or an integer one that no i32 has. */
export function refuseUnreal(check: Check, node: AnyNode, { kind }: NumberValue): void {
  const value = kind === 'int' ? integerValue(check, node) : evaluate(check, node, unknown)
  if (value === undefined) return
  const most = kind === 'int' ? MAX_INTEGER : MAX_F32
  if (Math.abs(value) <= most) return
  const larger = kind === 'int' ? 'an integer can be, 2147483647' : 'the largest f32, 3.4028234e38'
  const what = Number.isNaN(value) ? 'not a number' : `larger than ${larger}`
  check.refuse(node, `this is ${what}, whatever the arguments are`)
}

const unknown: Read = () => undefined

/** What it would be if integers had no end. */
function integerValue(check: Check, node: AnyNode): number | undefined {
  if (node.type !== 'BinaryExpression' || node.operator !== '<<') {
    return evaluate(check, node, unknown)
  }
  const of = evaluate(check, node.left, unknown)
  const by = evaluate(check, node.right, unknown)
  return of === undefined || by === undefined ? undefined : (of | 0) * 2 ** by
}

function memberValue(check: Check, node: AnyNode): number | undefined {
  const name = mathName(node)
  if (name !== undefined) {
    return MATH_CONSTANTS.has(name) ? Math[name as 'PI'] : undefined
  }
  const own = thisPath(node)
  if (own?.room === 'constants') return check.facts.constants[own.name]
  if (own?.room === 'output') return check.facts.output[AXIS_NAMES.indexOf(own.name as 'x')]
  return undefined
}

function mathName(node: AnyNode): string | undefined {
  if (node.type !== 'MemberExpression' || node.computed) return undefined
  if (node.object.type !== 'Identifier' || node.object.name !== 'Math') return undefined
  return node.property.type === 'Identifier' ? node.property.name : undefined
}

/** Of one value, `a` is 0. */
export function compute(operator: string, a: number, b: number): number | undefined {
  switch (operator) {
    case '+':
      return a + b
    case '-':
      return a - b
    case '*':
      return a * b
    case '/':
      return a / b
    case '%':
      return a % b
    case '&':
      return a & b
    case '|':
      return a | b
    case '^':
      return a ^ b
    case '<<':
      return a << b
    case '>>':
      return a >> b
    case '>>>':
      return a >>> b
    case '~':
      return ~b
    default:
      return undefined
  }
}

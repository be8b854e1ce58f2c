/**
 * Where gpu.js makes an integer of an expression (an index, an operand of & or <<, a literal beside an i32), it also reads some of what is
 * inside otherwise than JavaScript does: literals are rounded, and `2 * x` becomes `2 * i32(x)`. Both back ends do, as their
 * castValueToInteger and castLiteralToInteger leave a state behind that operands, arguments and branches see. Such
 * expressions are refused here; in a variable of their own they are right.
 */
import type { AnyNode } from 'acorn'
import { refuseInexact } from './kernel-counters.ts'
import { MAX_INTEGER } from './kernel-limits.ts'
import type { Check, Value } from './kernel-scope.ts'
import { BITWISE } from './kernel-words.ts'

const APART = 'put it into a variable of its own, `const k = …`, and use k here'

export function foundOf(check: Check, node: AnyNode): Value {
  return check.values.get(node) ?? check.refuse(node, 'this has no value')
}

/** @throws ERR_MESH_KERNEL_INVALID when an integer made of `node` would not be the one that JavaScript makes. */
export function asInteger(check: Check, node: AnyNode, role: string): void {
  refuseLooseChoice(check, node)
  refuseInexact(check, node, role)
  inside(check, node, role, false)
}

/** With `amongFloats`, the cast is not made of the node itself, but of something that takes floats and holds it. */
function inside(check: Check, node: AnyNode, role: string, amongFloats: boolean): void {
  const value = check.values.get(node)
  if (value?.is === 'number' && value.fixed !== undefined) {
    integerLiteral(check, node, value.fixed, role)
    return
  }
  switch (node.type) {
    case 'Literal':
      if (typeof node.value === 'number') integerLiteral(check, node, node.value, role)
      return
    case 'MemberExpression':
      constant(check, node, role)
      return
    case 'UnaryExpression':
      if (node.operator !== '~') inside(check, node.argument, role, amongFloats)
      return
    case 'LogicalExpression':
      inside(check, node.left, role, true)
      inside(check, node.right, role, true)
      return
    case 'BinaryExpression':
      if (BITWISE.has(node.operator)) return
      if (node.operator === '/' || node.operator === '%') {
        floats(check, [node.left, node.right], role)
        return
      }
      sum(check, node.left, node.right, role, amongFloats)
      return
    case 'ConditionalExpression':
      refuseLooseChoice(check, node)
      inside(check, node.test, role, true)
      inside(check, node.consequent, role, true)
      inside(check, node.alternate, role, true)
      return
    case 'CallExpression':
      floats(check, node.arguments, role)
      return
    default:
      return
  }
}

/** Those that gpu.js casts to a float are cast out of it, too. */
function floats(check: Check, nodes: readonly AnyNode[], role: string): void {
  for (const node of nodes) {
    const value = foundOf(check, node)
    if (value.is === 'number' && value.kind === 'float') inside(check, node, role, true)
  }
}

function sum(
  check: Check,
  left: AnyNode,
  right: AnyNode,
  role: string,
  amongFloats: boolean,
): void {
  const a = foundOf(check, left)
  const b = foundOf(check, right)
  if (a.is !== 'number' || b.is !== 'number' || a.kind !== 'literal') return
  if (b.kind === 'int') return
  if (b.kind === 'float' && (amongFloats || !b.whole)) {
    check.refuse(
      left,
      `inside ${role}, gpu.js makes integers of these before it computes: write the number on the right (\`x * 2\`, \`x + 1\`), or ${APART}`,
    )
  }
  inside(check, left, role, false)
  inside(check, right, role, false)
}

function integerLiteral(check: Check, node: AnyNode, value: number, role: string): void {
  if (!Number.isInteger(value)) {
    check.refuse(node, `inside ${role}, gpu.js rounds ${value} to a whole number: ${APART}`)
  }
  if (Math.abs(value) > MAX_INTEGER) {
    check.refuse(node, `inside ${role}, ${value} is larger than an integer can be, ${MAX_INTEGER}`)
  }
}

function constant(check: Check, node: AnyNode, role: string): void {
  if (node.type !== 'MemberExpression' || node.computed) return
  const { object, property } = node
  if (object.type !== 'MemberExpression' || object.property.type !== 'Identifier') return
  if (object.property.name !== 'constants' || property.type !== 'Identifier') return
  integerLiteral(check, node, check.facts.constants[property.name] ?? 0, role)
}

/** `c ? 1 : 0` is a float wherever it stands, but gpu.js takes it for a literal, which can be an integer. */
export function refuseLooseChoice(check: Check, node: AnyNode): void {
  if (node.type === 'ConditionalExpression') {
    const value = foundOf(check, node)
    if (value.is === 'number' && value.kind === 'literal') {
      check.refuse(node, `this choice is a fraction to a device, beside integers: ${APART}`)
    }
  }
  if (node.type === 'UnaryExpression') refuseLooseChoice(check, node.argument)
  if (node.type === 'BinaryExpression' && ['+', '-', '*'].includes(node.operator)) {
    const value = foundOf(check, node)
    if (value.is === 'number' && value.kind === 'float') return
    refuseLooseChoice(check, node.left)
    refuseLooseChoice(check, node.right)
  }
}

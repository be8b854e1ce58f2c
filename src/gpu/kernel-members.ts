/** What a kernel reads of `this`, of Math and of its arrays. */
import type { AnyNode, Expression, MemberExpression } from 'acorn'
import { asInteger } from './kernel-integers.ts'
import { refuseSyntax } from './kernel-refusals.ts'
import {
  AXIS_NAMES,
  type Axis,
  type Check,
  FLOAT,
  type NumberValue,
  type Value,
  WHOLE_FLOAT,
} from './kernel-scope.ts'
import { MATH_CONSTANTS, MATH_FUNCTIONS, MATH_REFUSED } from './kernel-words.ts'

/** numberAt() of kernel-expressions.ts, which imports this file. */
type NumberAt = (check: Check, node: AnyNode) => NumberValue

/** `this.thread.x`, `this.constants.n`, `Math.PI` or `a[y][x]`. */
export function memberAt(check: Check, node: MemberExpression, numberAt: NumberAt): Value {
  if (node.optional === true) refuseSyntax(check, node)
  if (node.computed) return elementAt(check, node, numberAt)
  const own = thisPath(node)
  if (own !== undefined) return ownAt(check, node, own.room, own.name)
  const { object, property } = node
  if (object.type === 'Identifier' && object.name === 'Math' && property.type === 'Identifier') {
    if (MATH_CONSTANTS.has(property.name)) return FLOAT
    if (MATH_FUNCTIONS.has(property.name)) {
      check.refuse(node, `call it: Math.${property.name}(…)`)
    }
    return refuseMath(check, node, property.name)
  }
  if (object.type === 'ThisExpression') {
    check.refuse(
      node,
      'of `this`, a kernel sees this.thread.x, .y, .z, this.output.x, .y, .z and this.constants.NAME',
    )
  }
  if (property.type === 'Identifier' && property.name === 'length') {
    check.refuse(node, 'an array has no length on a device: pass its length as a constant')
  }
  return check.refuse(
    node,
    'properties cannot be read: only elements of arrays, this.thread.*, this.output.*, this.constants.* and Math.*',
  )
}

/** The two names behind `this`, as in this.thread.x. */
export function thisPath(node: AnyNode): { room: string; name: string } | undefined {
  if (node.type !== 'MemberExpression' || node.computed || node.optional) return undefined
  const { object, property } = node
  if (object.type !== 'MemberExpression' || object.computed || object.optional) return undefined
  if (object.object.type !== 'ThisExpression') return undefined
  if (object.property.type !== 'Identifier' || property.type !== 'Identifier') return undefined
  return { room: object.property.name, name: property.name }
}

function ownAt(check: Check, node: MemberExpression, room: string, name: string): Value {
  const { output, constants } = check.facts
  if (room === 'constants') {
    if (!Object.hasOwn(constants, name)) {
      const there = Object.keys(constants)
      const list = there.length === 0 ? 'there are none' : `there are ${there.join(', ')}`
      check.refuse(node, `there is no constant "${name}"; ${list}`)
    }
    return Number.isInteger(constants[name]) ? WHOLE_FLOAT : FLOAT
  }
  if (room !== 'thread' && room !== 'output') {
    check.refuse(
      node,
      `there is no this.${room}: there are this.thread, this.output and this.constants`,
    )
  }
  const axis = AXIS_NAMES.indexOf(name as 'x')
  if (axis === -1) check.refuse(node, `this.${room} has x, y and z, not "${name}"`)
  if (axis >= output.length) {
    const axes = AXIS_NAMES.slice(0, axis + 1).join(', ')
    check.refuse(
      node,
      `this.${room}.${name} is always ${room === 'thread' ? 0 : 1}, as the output has ${output.length} dimension${output.length === 1 ? '' : 's'}: leave it out, or give output as [${axes}]`,
    )
  }
  if (room === 'output') {
    const extent = output[axis]!
    check.mark({ start: node.start, end: node.end, text: String(extent) })
    return { is: 'number', kind: 'literal', whole: true, fixed: extent }
  }
  check.mark({ start: node.start, end: node.end, thread: axis as Axis })
  return { is: 'number', kind: 'int', whole: true, most: output[axis]! - 1 }
}

function elementAt(check: Check, node: MemberExpression, numberAt: NumberAt): Value {
  const indexes: Expression[] = []
  let base: AnyNode = node
  while (base.type === 'MemberExpression' && base.computed && !base.optional) {
    indexes.unshift(base.property as Expression)
    base = base.object
  }
  const param = base.type === 'Identifier' && !check.find(base.name) && check.params.get(base.name)
  if (!param || base.type !== 'Identifier') {
    return check.refuse(node, 'only an argument that is an array can be indexed, by numbers')
  }
  const { name } = base
  if (param.kind === 'number') check.refuse(node, `"${name}" is a number, not an array`)
  if (indexes.length !== param.size.length) {
    const form = ['x', 'y', 'z'].slice(0, param.size.length).reverse()
    check.refuse(
      node,
      `"${name}" has ${param.size.length} dimension${param.size.length === 1 ? '' : 's'} and ${indexes.length} index${indexes.length === 1 ? '' : 'es'} here: write ${name}${form.map((axis) => `[${axis}]`).join('')}`,
    )
  }
  indexes.forEach((index, i) => {
    const { fixed } = numberAt(check, index)
    asInteger(check, index, 'an index')
    const extent = param.size[param.size.length - 1 - i]!
    if (fixed === undefined || (fixed >= 0 && fixed < extent)) return
    check.refuse(index, `"${name}" has ${extent} elements here, from 0 to ${extent - 1}`)
  })
  if (param.perItem) sliceIndexAt(check, name, indexes[0]!)
  return FLOAT
}

/** A launch holds its own slice of a perItem array alone, so that its outermost index must be the thread's own. */
function sliceIndexAt(check: Check, name: string, index: Expression): void {
  const axis = (check.facts.output.length - 1) as Axis
  const { start, end } = index
  const local = index.type === 'Identifier' ? check.find(index.name) : undefined
  if (local?.thread === axis) {
    check.mark({ start, end, local: axis, name: local.emitted })
    return
  }
  const own = thisPath(index)
  if (own?.room === 'thread' && own.name === AXIS_NAMES[axis]) {
    check.mark({ start, end, text: `this.thread.${own.name}` })
    return
  }
  check.refuse(
    index,
    `"${name}" is perItem, so that a launch holds its own slice alone: its first index must be this.thread.${AXIS_NAMES[axis]}, or a const that is; give the array without perItem to read all of it`,
  )
}

export function refuseMath(check: Check, node: AnyNode, name: string): never {
  return check.refuse(
    node,
    MATH_REFUSED.get(name) ??
      `there is no Math.${name} on every device; there are ${[...MATH_FUNCTIONS.keys(), ...MATH_CONSTANTS].sort().join(', ')}`,
  )
}

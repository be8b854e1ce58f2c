/**
 * Integers that counters are part of. gpu.js makes i32 of a counter on a GPU and f32 as WebAssembly: what it computes of them is the same as
 * long as both hold it. Where the heads of the loops tell that it may not be, the kernel is refused.
 */
import type { AnyNode, BinaryExpression } from 'acorn'
import { MAX_AXIS, MAX_INTEGER } from './kernel-limits.ts'
import type { Check, Local, NumberValue } from './kernel-scope.ts'

/** Whole numbers up to this are f32. */
const MAX_EXACT = MAX_AXIS

/** A variable's value. */
export function counterOf({ kind, whole, most }: Local): NumberValue {
  if (kind === 'float') return { is: 'number', kind, whole }
  return { is: 'number', kind, whole, counted: true, ...(most === undefined ? {} : { most }) }
}

/** The sum, difference or product of two integers. @throws ERR_MESH_KERNEL_INVALID when devices may disagree about it */
export function integerAt(
  check: Check,
  node: BinaryExpression,
  a: NumberValue,
  b: NumberValue,
): NumberValue {
  const of =
    node.operator === '*' ? (x: number, y: number) => x * y : (x: number, y: number) => x + y
  const value = joined(a, b, of)
  const { counted, most } = value
  if (counted === true && most !== undefined && most > MAX_INTEGER) {
    check.refuse(
      node,
      `this can reach ${most}, and integers of a GPU wrap beyond ${MAX_INTEGER}: write k after \`const k = i\` in place of the counter, which is f32, or \`(i | 0)\`, which wraps on all devices alike`,
    )
  }
  return value
}

/** One of two integers: what is larger counts. */
export function eitherOf(a: NumberValue, b: NumberValue): NumberValue {
  return joined(a, b, Math.max)
}

/** For a place that looks at each bit. @throws ERR_MESH_KERNEL_INVALID when devices may disagree about the lowest */
export function refuseInexact(check: Check, node: AnyNode, role: string): void {
  const value = check.values.get(node)
  if (value?.is !== 'number' || value.counted !== true) return
  if (value.most === undefined || value.most <= MAX_EXACT) return
  check.refuse(
    node,
    `${role} must be exact, and this can reach ${value.most}, while a counter is exact up to ${MAX_EXACT}: write \`(i | 0)\` in place of the counter, which is an integer everywhere`,
  )
}

function joined(a: NumberValue, b: NumberValue, of: (x: number, y: number) => number): NumberValue {
  const [x, y] = [mostOf(a), mostOf(b)]
  const most = x === undefined || y === undefined ? undefined : of(x, y)
  return {
    is: 'number',
    kind: a.kind === 'int' || b.kind === 'int' ? 'int' : a.kind,
    whole: a.whole && b.whole,
    ...(a.counted === true || b.counted === true ? { counted: true } : {}),
    ...(most === undefined ? {} : { most }),
  }
}

function mostOf({ most, fixed }: NumberValue): number | undefined {
  return most ?? (fixed === undefined ? undefined : Math.abs(fixed))
}

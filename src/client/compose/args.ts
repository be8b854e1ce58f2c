/** Arguments on their way into a plan. */
import { isMeshError, MeshError } from '../../base/errors.ts'
import { isComposition } from '../../runtime/composition.ts'
import { encodeValue } from '../../runtime/segment.ts'
import { MAX_PLAN_VALUE_BYTES } from '../limits.ts'
import type { TaskRef } from './tasks.ts'

/** @throws ERR_MESH_VALUE_UNSENDABLE, ERR_MESH_VALUE_TOO_LARGE, ERR_MESH_TASK_INVALID for a composition inside of a value */
export function encodeArg(value: unknown, task: TaskRef | undefined): Uint8Array {
  let bytes: Uint8Array
  try {
    bytes = encodeValue(value)
  } catch (error) {
    throw explainArg(error, value, task)
  }
  if (bytes.byteLength <= MAX_PLAN_VALUE_BYTES) return bytes
  const of = task === undefined ? 'an argument' : `the arguments of "${task.name}"`
  throw new MeshError(
    'ERR_MESH_VALUE_TOO_LARGE',
    `${of} are ${bytes.byteLength} bytes encoded, and may be ${MAX_PLAN_VALUE_BYTES} beside what precedes: large values belong in the items of a map, or come from a task that reads them`,
    { details: { sizeBytes: bytes.byteLength, limit: MAX_PLAN_VALUE_BYTES } },
  )
}

/** What is wrong with an argument, by the name of the task that gets it. */
export function explainArg(
  error: unknown,
  value: unknown,
  task: TaskRef | undefined,
  index?: number,
): unknown {
  const of = task === undefined ? 'an argument' : `an argument of "${task.name}"`
  if (holdsComposition(value)) {
    return new MeshError(
      'ERR_MESH_TASK_INVALID',
      `${of} holds a composition inside of another value: hand it in as an argument of its own, or a list of compositions alone`,
    )
  }
  if (!isMeshError(error)) return error
  const which = index === undefined ? of : `item ${index}, ${of},`
  const message = error.message.replace(/^the value( of item \d+)?/, which)
  const details = { ...error.details, ...(index !== undefined && { index }) }
  return new MeshError(error.code, message, { cause: error, details })
}

/** Values inside of values that are looked at for a composition: it is for a message alone. */
const MAX_LOOKED_AT = 10_000

function holdsComposition(value: unknown): boolean {
  const waiting: unknown[] = [value]
  for (let seen = 0; waiting.length > 0 && seen < MAX_LOOKED_AT; seen++) {
    const next = waiting.pop()
    if (isComposition(next)) return true
    if (typeof next !== 'object' || next === null || ArrayBuffer.isView(next)) continue
    const inner = next instanceof Map || next instanceof Set ? [...next] : Object.values(next)
    for (const each of inner) waiting.push(each)
  }
  return false
}

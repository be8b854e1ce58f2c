import { MeshError } from '../base/errors.ts'
import {
  MAX_PLAN_NODES,
  MAX_PLAN_PARTS,
  MAX_PLAN_TASKS,
  MAX_SHAPE_DEPTH,
} from '../scheduler/limits.ts'
import type {
  Arg,
  NodeInput,
  NodeOptions,
  Plan,
  PlanNode,
  PlanTask,
  Shape,
  Step,
} from '../scheduler/plan.ts'
import type { BlobHash, GraphTask, JobTask, Range } from '../scheduler/types.ts'
import { CborReader, protocolError } from './cbor-reader.ts'
import { type CborValue, encodeCbor, hexBytes, int, text, uint } from './cbor-values.ts'
import { MAX_NAME_BYTES, MAX_PLAN_BYTES, MAX_PLAN_VALUE_BYTES } from './limits.ts'
import { optionsValue, readOptions } from './options-codec.ts'

const PLAN_VERSION = 1
const INPUT_RANGE = 0
const INPUT_VALUES = 1
const INPUT_PIECES = 2
const INPUT_EACH = 3
const INPUT_CALL = 4
const ARG_VALUE = 0
const ARG_SHAPE = 1
const SHAPE_ITEM = 0
const SHAPE_LIST = 1
const SHAPE_TUPLE = 2

/** What a node may have in the place of the job's options. */
const NODE_OPTIONS: Readonly<Record<keyof NodeOptions, true>> = {
  retries: true,
  backoff: true,
  timeLimitMs: true,
  softTimeLimitMs: true,
  chunkSize: true,
  speculate: true,
}

/** @throws ERR_MESH_OPTION_INVALID for a task that is no composition, and has no plan */
export function graphOf(task: JobTask): GraphTask {
  if (task.kind === 'graph') return task
  throw new MeshError('ERR_MESH_OPTION_INVALID', `"${task.name}" is no composition: it has no plan`)
}

/** A plan as a blob: canonical CBOR (docs/protocol.md, "Plan"). @throws ERR_MESH_PROTOCOL for what no peer would take */
export function encodePlan(plan: Plan): Uint8Array {
  const bytes = encodeCbor([
    PLAN_VERSION,
    plan.tasks.map(taskValue),
    plan.nodes.map(nodeValue),
    shapeValue(plan.output),
  ])
  checkSize(bytes.length)
  return bytes
}

/**
 * The plan that a blob holds. It came from another peer: bounded while it is read; what its numbers mean is planFault()'s to judge.
 * @throws ERR_MESH_PROTOCOL
 */
export function decodePlan(bytes: Uint8Array): Plan {
  checkSize(bytes.length)
  const reader = new PlanReader(bytes)
  reader.array('plan', 4, 4)
  if (reader.uint('plan version') !== PLAN_VERSION)
    throw protocolError('plan has an unknown version')
  const tasks = list(reader, 'tasks', MAX_PLAN_TASKS, readTask)
  const nodes = list(reader, 'nodes', MAX_PLAN_NODES, readNode)
  const plan = { tasks, nodes, output: readShape(reader) }
  reader.end('plan')
  return plan
}

function checkSize(bytes: number): void {
  if (bytes <= MAX_PLAN_BYTES) return
  throw protocolError(`plan has ${bytes} bytes, at most ${MAX_PLAN_BYTES} are allowed`)
}

/** Counts the parts of a plan as they are read: what has too many is given up before it costs memory and time. */
class PlanReader extends CborReader {
  private partsLeft = MAX_PLAN_PARTS

  /** The length of a list of parts. */
  parts(what: string): number {
    const count = this.array(what, 0, this.partsLeft)
    this.partsLeft -= count
    return count
  }
}

function parts<T>(reader: PlanReader, what: string, read: (reader: PlanReader) => T): T[] {
  return listOf(reader, reader.parts(what), read)
}

function list<T>(
  reader: PlanReader,
  what: string,
  max: number,
  read: (reader: PlanReader) => T,
): T[] {
  return listOf(reader, reader.array(what, 0, max), read)
}

function listOf<T>(reader: PlanReader, count: number, read: (reader: PlanReader) => T): T[] {
  const out: T[] = []
  // One by one: a head that says more than there is ends at the end of the bytes.
  for (let i = 0; i < count; i += 1) out.push(read(reader))
  return out
}

function taskValue({ name, bundle, bundleBytes, pick }: PlanTask): CborValue[] {
  return [
    text(name, 'task name', MAX_NAME_BYTES),
    hexBytes(bundle, 32, 'bundle'),
    uint(bundleBytes, 'bundleBytes'),
    Number(pick),
  ]
}

function readTask(reader: PlanReader): PlanTask {
  reader.array('task', 4, 4)
  return {
    name: reader.text('task name', MAX_NAME_BYTES),
    bundle: reader.hex('bundle', 32) as BlobHash,
    bundleBytes: reader.uint('bundleBytes'),
    pick: reader.uint('pick', 1) === 1,
  }
}

/** `[count, input, steps, combine?, allowFailures (0, 1), options]` */
function nodeValue(node: PlanNode): CborValue[] {
  const { count, input, steps, combine, allowFailures = false, options = {} } = node
  return [
    uint(count, 'count'),
    inputValue(input),
    steps.map(stepValue),
    combine === undefined
      ? null
      : [stepValue(combine.step), uint(combine.grain, 'grain'), uint(combine.total, 'total')],
    Number(allowFailures),
    optionsValue(options),
  ]
}

function readNode(reader: PlanReader): PlanNode {
  reader.array('node', 6, 6)
  const count = reader.uint('count')
  const input = readInput(reader)
  const steps = parts(reader, 'steps', readStep)
  const combine = readCombine(reader)
  const allowFailures = reader.uint('allowFailures', 1) === 1
  const options = readOptions(reader)
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(NODE_OPTIONS, name)) throw protocolError(`a node has no option ${name}`)
  }
  return {
    count,
    input,
    steps,
    ...(combine === undefined ? {} : { combine }),
    ...(allowFailures ? { allowFailures } : {}),
    ...(Object.keys(options).length === 0 ? {} : { options: options as NodeOptions }),
  }
}

function readCombine(reader: PlanReader): PlanNode['combine'] {
  if (reader.null()) return undefined
  reader.array('combine', 3, 3)
  return { step: readStep(reader), grain: reader.uint('grain'), total: reader.uint('total') }
}

/** `[task, bound?, immutable (0, 1)]` */
function stepValue({ task, bound, immutable = false }: Step): CborValue[] {
  return [uint(task, 'task'), bound === undefined ? null : value(bound), Number(immutable)]
}

function readStep(reader: PlanReader): Step {
  reader.array('step', 3, 3)
  const task = reader.uint('task')
  const bound = reader.null() ? undefined : reader.bytes('bound', MAX_PLAN_VALUE_BYTES)
  const immutable = reader.uint('immutable', 1) === 1
  return {
    task,
    ...(bound === undefined ? {} : { bound }),
    ...(immutable ? { immutable } : {}),
  }
}

function value(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= MAX_PLAN_VALUE_BYTES) return bytes
  throw protocolError(
    `a value in the plan has ${bytes.length} bytes, at most ${MAX_PLAN_VALUE_BYTES} are allowed`,
  )
}

function inputValue(input: NodeInput): CborValue[] {
  switch (input.kind) {
    case 'range':
      return [INPUT_RANGE, int(input.start, 'start')]
    case 'values':
      return [INPUT_VALUES, value(input.segment)]
    case 'pieces':
      return [INPUT_PIECES, hexBytes(input.manifest, 32, 'manifest')]
    case 'each':
      return [INPUT_EACH, input.from.map(({ lo, hi }) => [uint(lo, 'lo'), uint(hi, 'hi')])]
    case 'call':
      return [INPUT_CALL, input.args.map(argValue)]
  }
}

function readInput(reader: PlanReader): NodeInput {
  reader.array('input', 2, 2)
  switch (reader.uint('input kind', INPUT_CALL)) {
    case INPUT_RANGE:
      return { kind: 'range', start: reader.int('start') }
    case INPUT_VALUES:
      return { kind: 'values', segment: reader.bytes('values', MAX_PLAN_VALUE_BYTES) }
    case INPUT_PIECES:
      return { kind: 'pieces', manifest: reader.hex('manifest', 32) as BlobHash }
    case INPUT_EACH:
      return { kind: 'each', from: parts(reader, 'ranges', readRange) }
    default:
      return { kind: 'call', args: parts(reader, 'args', readArg) }
  }
}

function readRange(reader: PlanReader): Range {
  reader.array('range', 2, 2)
  return { lo: reader.uint('lo'), hi: reader.uint('hi') }
}

function argValue(arg: Arg): CborValue[] {
  return arg.kind === 'value' ? [ARG_VALUE, value(arg.bytes)] : [ARG_SHAPE, shapeValue(arg.shape)]
}

function readArg(reader: PlanReader): Arg {
  reader.array('arg', 2, 2)
  if (reader.uint('arg kind', ARG_SHAPE) === ARG_VALUE) {
    return { kind: 'value', bytes: reader.bytes('arg', MAX_PLAN_VALUE_BYTES) }
  }
  return { kind: 'shape', shape: readShape(reader) }
}

function shapeValue(shape: Shape, depth = 1): CborValue[] {
  if (depth > MAX_SHAPE_DEPTH) throw tooDeep()
  switch (shape.kind) {
    case 'item':
      return [SHAPE_ITEM, uint(shape.item, 'item')]
    case 'list': {
      const { lo, hi, size } = shape
      const bounds = [uint(lo, 'lo'), uint(hi, 'hi')]
      return [SHAPE_LIST, ...bounds, size === undefined ? null : uint(size, 'size')]
    }
    case 'tuple':
      return [SHAPE_TUPLE, shape.parts.map((part) => shapeValue(part, depth + 1))]
  }
}

function readShape(reader: PlanReader, depth = 1): Shape {
  if (depth > MAX_SHAPE_DEPTH) throw tooDeep()
  const fields = reader.array('shape', 2, 4)
  const kind = reader.uint('shape kind', SHAPE_TUPLE)
  if (fields !== (kind === SHAPE_LIST ? 4 : 2)) throw protocolError('shape has a wrong length')
  if (kind === SHAPE_ITEM) return { kind: 'item', item: reader.uint('item') }
  if (kind === SHAPE_TUPLE) {
    return { kind: 'tuple', parts: parts(reader, 'parts', (each) => readShape(each, depth + 1)) }
  }
  const bounds = { lo: reader.uint('lo'), hi: reader.uint('hi') }
  if (reader.null()) return { kind: 'list', ...bounds }
  return { kind: 'list', ...bounds, size: reader.uint('size') }
}

function tooDeep(): Error {
  return protocolError(`a shape is deeper than ${MAX_SHAPE_DEPTH}`)
}

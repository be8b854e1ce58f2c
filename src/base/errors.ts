/** Every error a user can meet, by its stable code. docs/errors.md lists the same codes; a test keeps the two equal. */
export type MeshErrorCode =
  // tasks and their code
  | 'ERR_MESH_TASK_NOT_FOUND'
  | 'ERR_MESH_TASK_SYNTAX'
  | 'ERR_MESH_TASK_NO_DEFAULT'
  | 'ERR_MESH_TASK_INVALID'
  | 'ERR_MESH_TASK_NATIVE_ADDON'
  | 'ERR_MESH_TASK_IMPORT'
  | 'ERR_MESH_TASK_CLOSURE'
  | 'ERR_MESH_KERNEL_INVALID'
  // input
  | 'ERR_MESH_INPUT_INVALID'
  | 'ERR_MESH_INPUT_NOT_FOUND'
  | 'ERR_MESH_INPUT_LOST'
  | 'ERR_MESH_ITEM_REFUSED'
  | 'ERR_MESH_RANGE_INVALID'
  | 'ERR_MESH_OPTION_INVALID'
  // items at run time
  | 'ERR_MESH_ITEMS_FAILED'
  | 'ERR_MESH_ITEM_THREW'
  | 'ERR_MESH_VALUE_UNSENDABLE'
  | 'ERR_MESH_VALUE_TOO_LARGE'
  | 'ERR_MESH_TIME_LIMIT'
  | 'ERR_MESH_SOFT_TIME_LIMIT'
  | 'ERR_MESH_NOTHING_LEFT'
  | 'ERR_MESH_MEMORY_LIMIT'
  | 'ERR_MESH_WORKER_DIED'
  | 'ERR_MESH_KERNEL_FAILED'
  | 'ERR_MESH_NO_GPU'
  // jobs
  | 'ERR_MESH_JOB_UNKNOWN'
  | 'ERR_MESH_JOB_AMBIGUOUS'
  | 'ERR_MESH_JOB_RUNNING'
  | 'ERR_MESH_JOB_CANCELLED'
  | 'ERR_MESH_JOB_COLLECTED'
  | 'ERR_MESH_JOB_OVER'
  | 'ERR_MESH_PLAN_INVALID'
  | 'ERR_MESH_NOT_CONTROLLER'
  | 'ERR_MESH_KEY_REUSED'
  | 'ERR_MESH_RESULT_LOST'
  // mesh and node
  | 'ERR_MESH_TICKET_DAMAGED'
  | 'ERR_MESH_TICKET_MISMATCH'
  | 'ERR_MESH_TICKET_REFUSED'
  | 'ERR_MESH_UNREACHABLE'
  | 'ERR_MESH_ADDRESS_INVALID'
  | 'ERR_MESH_PORT_IN_USE'
  | 'ERR_MESH_FOLDER_LOCKED'
  | 'ERR_MESH_FOLDER_READ_ONLY'
  | 'ERR_MESH_STORE_DAMAGED'
  | 'ERR_MESH_DISK_FULL'
  | 'ERR_MESH_NO_PEER_RUNNING'
  | 'ERR_MESH_STOPPED'
  | 'ERR_MESH_TOO_LARGE'
  | 'ERR_MESH_TIMEOUT'
  | 'ERR_MESH_PROTOCOL'
  | 'ERR_MESH_UNSUPPORTED'
  | 'ERR_MESH_INTERNAL'

/**
 * The one error class of Meshwork. Switch on `code`, which is stable; `message` is for people and may change.
 * `details` holds what a program may want (an index, a path, a limit), always plain data.
 */
export class MeshError extends Error {
  readonly code: MeshErrorCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    code: MeshErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'MeshError'
    this.code = code
    this.details = options.details ?? {}
  }
}

/** True for a MeshError, also one from another copy of this package; with `code`, only for that code. */
export function isMeshError(error: unknown, code?: MeshErrorCode): error is MeshError {
  if (!(error instanceof Error) || error.name !== 'MeshError') return false
  return code === undefined || (error as MeshError).code === code
}

/** A broken invariant of our own: never a user's or a peer's fault. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new MeshError('ERR_MESH_INTERNAL', `broken invariant: ${message}`)
}

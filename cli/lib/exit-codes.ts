import type { MeshErrorCode } from '../../src/base/errors.ts'

/** What `mesh` answers to the shell. docs/cli.md lists the same; a test keeps the two equal. */
export const EXIT = {
  /** Success, and nothing else. */
  ok: 0,
  /** The job has failed items or was cancelled, or the command could not do its work. */
  failed: 1,
  /** The command line, the task or the input is wrong; nothing was run. */
  usage: 2,
  /** `results --no-wait`: the job has not finished. `status`: no peer runs. */
  notYet: 3,
  /** A fault of Meshwork itself. */
  internal: 70,
  /** Interrupted by Ctrl-C: 128 + SIGINT. */
  interrupted: 130,
  /** The reader of a pipe went away: 128 + SIGPIPE. */
  pipeClosed: 141,
  /** Stopped by SIGTERM: 128 + SIGTERM. */
  terminated: 143,
} as const

const USAGE: ReadonlySet<MeshErrorCode> = new Set<MeshErrorCode>([
  'ERR_MESH_TASK_NOT_FOUND',
  'ERR_MESH_TASK_SYNTAX',
  'ERR_MESH_TASK_NO_DEFAULT',
  'ERR_MESH_TASK_INVALID',
  'ERR_MESH_TASK_NATIVE_ADDON',
  'ERR_MESH_TASK_IMPORT',
  'ERR_MESH_TASK_CLOSURE',
  'ERR_MESH_KERNEL_INVALID',
  'ERR_MESH_INPUT_INVALID',
  'ERR_MESH_INPUT_NOT_FOUND',
  'ERR_MESH_ITEM_REFUSED',
  'ERR_MESH_RANGE_INVALID',
  'ERR_MESH_OPTION_INVALID',
  'ERR_MESH_VALUE_UNSENDABLE',
  'ERR_MESH_VALUE_TOO_LARGE',
  'ERR_MESH_JOB_UNKNOWN',
  'ERR_MESH_JOB_AMBIGUOUS',
  'ERR_MESH_KEY_REUSED',
  'ERR_MESH_TICKET_DAMAGED',
  'ERR_MESH_TICKET_MISMATCH',
  'ERR_MESH_ADDRESS_INVALID',
])

/** The exit code for an error that ended a command. */
export function exitCodeOf(code: MeshErrorCode): number {
  if (code === 'ERR_MESH_INTERNAL') return EXIT.internal
  return USAGE.has(code) ? EXIT.usage : EXIT.failed
}

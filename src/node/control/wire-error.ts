import { isMeshError, MeshError, type MeshErrorCode } from '../../base/errors.ts'

/** An error as it travels: JSON, in an answer's body or at the end of a stream. */
export interface WireError {
  readonly code: string
  readonly message: string
  readonly details: Readonly<Record<string, unknown>>
}

/** HTTP status by code; what is not listed is 500. */
const STATUS: Partial<Record<MeshErrorCode, number>> = {
  ERR_MESH_PROTOCOL: 400,
  ERR_MESH_INPUT_INVALID: 400,
  ERR_MESH_RANGE_INVALID: 400,
  ERR_MESH_OPTION_INVALID: 400,
  ERR_MESH_JOB_UNKNOWN: 404,
  ERR_MESH_JOB_AMBIGUOUS: 409,
  ERR_MESH_JOB_RUNNING: 409,
  ERR_MESH_JOB_OVER: 409,
  ERR_MESH_KEY_REUSED: 409,
  ERR_MESH_NOT_CONTROLLER: 403,
  ERR_MESH_JOB_CANCELLED: 410,
  ERR_MESH_RESULT_LOST: 410,
  ERR_MESH_INPUT_LOST: 410,
  ERR_MESH_TOO_LARGE: 413,
  ERR_MESH_VALUE_TOO_LARGE: 413,
  ERR_MESH_UNSUPPORTED: 501,
  ERR_MESH_STOPPED: 503,
  ERR_MESH_TIMEOUT: 504,
  ERR_MESH_DISK_FULL: 507,
}

/** An error that knows its HTTP status better than its code does. */
export class HttpError extends MeshError {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: number,
    code: MeshErrorCode,
    message: string,
    headers: Record<string, string> = {},
  ) {
    super(code, message)
    this.status = status
    this.headers = headers
  }
}

export function statusOf(error: unknown): number {
  if (error instanceof HttpError) return error.status
  return isMeshError(error) ? (STATUS[error.code] ?? 500) : 500
}

export function toWire(error: unknown): WireError {
  if (isMeshError(error)) {
    return { code: error.code, message: error.message, details: plain(error.details) }
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return { code: 'ERR_MESH_INTERNAL', message, details: {} }
}

/** The error again, at the other end. */
export function fromWire(value: unknown): MeshError {
  const { code, message, details } = (value ?? {}) as Partial<Record<keyof WireError, unknown>>
  if (typeof code !== 'string' || !code.startsWith('ERR_MESH_') || typeof message !== 'string') {
    return new MeshError('ERR_MESH_PROTOCOL', 'the peer answered with an error that has no code')
  }
  const known = typeof details === 'object' && details !== null ? details : {}
  return new MeshError(code as MeshErrorCode, message, {
    details: known as Record<string, unknown>,
  })
}

/** What JSON cannot say (a BigInt, bytes, a cycle) is left out, rather than hiding the error. */
function plain(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const out: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(details)) {
    try {
      const text = JSON.stringify(value)
      if (text !== undefined) out[key] = JSON.parse(text)
    } catch {
      // left out
    }
  }
  return out
}

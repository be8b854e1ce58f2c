import { MeshError } from '../../base/errors.ts'

/** How far a dial came, from libp2p's progress events. */
export type DialProgress = 'nothing' | 'answered' | 'member'

/**
 * What a failed dial means: nobody there, somebody without our key, or a member that does not want us.
 * ERR_MESH_UNREACHABLE or ERR_MESH_TICKET_REFUSED.
 */
export function dialError(address: string, progress: DialProgress, cause: unknown): MeshError {
  const options = { cause, details: { address } }
  if (progress === 'answered') {
    return new MeshError(
      'ERR_MESH_TICKET_REFUSED',
      `${address} answers, but not with this mesh's key: it belongs to another mesh, or is no meshwork peer. Get a new ticket (\`mesh ticket\` on a member)`,
      options,
    )
  }
  if (progress === 'member') {
    return new MeshError(
      'ERR_MESH_UNREACHABLE',
      `${address} is a member of this mesh, but closed the connection: it may refuse this peer for a minute after faults`,
      { cause, details: { address, member: true } },
    )
  }
  return new MeshError(
    'ERR_MESH_UNREACHABLE',
    `nobody answers at ${address}${reasonOf(cause)}`,
    options,
  )
}

/** The system error code in an error or in what caused it, such as ECONNREFUSED. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const { code, cause } = error as { code?: unknown; cause?: unknown }
  if (typeof code === 'string' && /^E[A-Z_]+$/.test(code)) return code
  for (const inner of error instanceof AggregateError ? error.errors : [cause]) {
    const found = systemCode(inner)
    if (found !== undefined) return found
  }
  return undefined
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'no process listens there',
  EHOSTUNREACH: 'there is no way to that machine',
  ENETUNREACH: 'there is no way to that network',
  ENOTFOUND: 'the host name is not known',
  ETIMEDOUT: 'it took too long',
}

function reasonOf(cause: unknown): string {
  const code = systemCode(cause)
  if (code !== undefined) return ` (${REASONS[code] ?? code})`
  const name = cause instanceof Error ? cause.name : ''
  return /Timeout|Abort/.test(name) ? ' (it took too long)' : ''
}

import { MeshError } from '../../base/errors.ts'

const NOBODY = new Set([
  'ECONNREFUSED',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'ENOTFOUND',
  'EAI_AGAIN',
])
const TIMEOUTS = new Set(['TimeoutError', 'AbortError'])

/** Every error in a tree of causes and aggregates. */
function* tree(error: unknown, depth = 0): Generator<Error & { code?: string }> {
  if (!(error instanceof Error) || depth > 8) return
  yield error
  yield* tree(error.cause, depth + 1)
  if (error instanceof AggregateError)
    for (const inner of error.errors) yield* tree(inner, depth + 1)
}

/** Nobody there, or somebody who does not hold our key: what a failed dial means. */
export function dialFailure(error: unknown, address: string): MeshError {
  if (error instanceof MeshError) return error
  const all = [...tree(error)]
  const nobody = all.some(
    (e) =>
      NOBODY.has(e.code ?? '') ||
      TIMEOUTS.has(e.name) ||
      [...NOBODY].some((code) => e.message.includes(code)),
  )
  if (nobody) {
    return new MeshError('ERR_MESH_UNREACHABLE', `no peer answers at ${address}`, {
      cause: error,
      details: { address },
    })
  }
  return new MeshError(
    'ERR_MESH_TICKET_REFUSED',
    `the peer at ${address} answers, but it is not in this mesh (its key differs, or it refused us): the ticket is old or of another mesh; ask a member for a new one with \`mesh ticket\``,
    { cause: error, details: { address } },
  )
}

/** Why listening failed. */
export function listenFailure(error: unknown, listen: readonly string[]): unknown {
  if (error instanceof MeshError) return error
  const all = [...tree(error)]
  if (all.some((e) => e.code === 'EADDRINUSE' || e.message.includes('EADDRINUSE'))) {
    return new MeshError(
      'ERR_MESH_PORT_IN_USE',
      `cannot listen on ${listen.join(', ')}: another process uses that port; give another one (--listen), or port 0 for any`,
      { cause: error, details: { listen } },
    )
  }
  if (all.some((e) => e.code === 'EADDRNOTAVAIL' || e.message.includes('EADDRNOTAVAIL'))) {
    return new MeshError(
      'ERR_MESH_ADDRESS_INVALID',
      `cannot listen on ${listen.join(', ')}: this machine has no such address`,
      { cause: error, details: { listen } },
    )
  }
  return error
}

import type { MeshBackend } from '../node/types.ts'
import { describe } from '../runtime/task.ts'
import type { JobOptions, PeerId } from '../scheduler/types.ts'
import { MAX_CONTROLLERS, MIN_PEER_PREFIX } from './limits.ts'
import { invalid } from './option-values.ts'

/**
 * The peers that are named as a job's controllers; nothing when none are.
 * @throws ERR_MESH_OPTION_INVALID
 */
export async function controllersOf(
  backend: MeshBackend,
  named: readonly string[] | undefined,
): Promise<Pick<JobOptions, 'controllers'>> {
  if (named === undefined) return {}
  checkControllers(named)
  const peers = await backend.peers()
  const ids = named.map((name) => {
    const text = name.toLowerCase()
    if (/^[0-9a-f]{64}$/.test(text)) return text
    const fits = peers.filter(({ id, self }) => (text === 'me' ? self : id.startsWith(text)))
    if (fits.length === 1) return fits[0]!.id
    throw invalid(
      'controllers',
      fits.length === 0
        ? `controllers: no peer "${name}" is known here: give its whole id (mesh peers --json)`
        : `controllers: "${name}" fits ${fits.length} peers: give more characters of the id`,
    )
  })
  return { controllers: [...new Set(ids)].sort() as PeerId[] }
}

export function checkControllers(named: unknown): void {
  if (!Array.isArray(named) || named.length === 0 || named.length > MAX_CONTROLLERS) {
    throw invalid(
      'controllers',
      `controllers must be a list of 1 to ${MAX_CONTROLLERS} peers, not ${describe(named)}`,
    )
  }
  const pattern = new RegExp(`^(?:me|[0-9a-f]{${MIN_PEER_PREFIX},64})$`, 'i')
  for (const name of named as unknown[]) {
    if (typeof name === 'string' && pattern.test(name)) continue
    throw invalid(
      'controllers',
      `controllers: ${describe(name)} is no peer: give its id (or the first ${MIN_PEER_PREFIX} characters or more of it), or 'me'`,
    )
  }
}

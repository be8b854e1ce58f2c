import { MeshError } from '../../base/errors.ts'
import type { PeerId } from '../../scheduler/types.ts'
import { MAX_TRANSFERS_PER_PEER, MAX_WAITING_TRANSFERS } from './limits.ts'

interface Room {
  taken: number
  readonly waiting: (() => void)[]
}

/** Lets so many transfers with each peer run at once; the others wait their turn. */
export class Places {
  private readonly rooms = new Map<PeerId, Room>()

  /** Resolves with what gives the place back. ERR_MESH_TOO_LARGE when too many wait. */
  async enter(peer: PeerId, signal?: AbortSignal): Promise<() => void> {
    let room = this.rooms.get(peer)
    if (room === undefined) this.rooms.set(peer, (room = { taken: 0, waiting: [] }))
    if (room.taken < MAX_TRANSFERS_PER_PEER) room.taken += 1
    else await waitFor(room, signal)
    const { rooms } = this
    return () => {
      const next = room.waiting.shift()
      if (next !== undefined) next()
      else if ((room.taken -= 1) === 0) rooms.delete(peer)
    }
  }
}

/** The one who leaves hands its place on. */
function waitFor(room: Room, signal: AbortSignal | undefined): Promise<void> {
  if (room.waiting.length >= MAX_WAITING_TRANSFERS) {
    const limit = `${MAX_WAITING_TRANSFERS} transfers wait for this peer already`
    throw new MeshError('ERR_MESH_TOO_LARGE', limit)
  }
  return new Promise((resolve, reject) => {
    const next = (): void => {
      signal?.removeEventListener('abort', aborted)
      resolve()
    }
    const aborted = (): void => {
      const index = room.waiting.indexOf(next)
      if (index >= 0) room.waiting.splice(index, 1)
      reject(new MeshError('ERR_MESH_TIMEOUT', 'a transfer was given up while it waited'))
    }
    room.waiting.push(next)
    signal?.addEventListener('abort', aborted, { once: true })
    if (signal?.aborted) aborted()
  })
}

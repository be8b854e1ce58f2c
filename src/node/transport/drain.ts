import type { Stream } from '@libp2p/interface'
import { MeshError } from '../../base/errors.ts'

/**
 * Resolves when the stream can be written to again, rejects when it closes. (`stream.onDrain()` of libp2p waits only the first
 * time that it is called.)
 */
export function drained(stream: Stream): Promise<void> {
  if (!stream.writableNeedsDrain) return Promise.resolve()
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      stream.removeEventListener('drain', settle)
      stream.removeEventListener('close', settle)
      if (stream.status === 'open') resolve()
      else reject(new MeshError('ERR_MESH_UNREACHABLE', 'the stream was closed by the other side'))
    }
    stream.addEventListener('drain', settle)
    stream.addEventListener('close', settle)
    if (stream.status !== 'open') settle()
  })
}

import type { MultiaddrConnection, StreamMuxerFactory } from '@libp2p/interface'
import { yamux } from '@libp2p/yamux'

/**
 * yamux, whose window updates do not throw once their connection closes: they are written from a microtask, where nobody could
 * catch it, and the process would end because a peer went away.
 */
export function quietYamux(options: Parameters<typeof yamux>[0]): () => StreamMuxerFactory {
  return () => {
    const factory = yamux(options)()
    return {
      protocol: factory.protocol,
      createStreamMuxer: (connection: MultiaddrConnection) => {
        const muxer = factory.createStreamMuxer(connection)
        const { send } = muxer
        muxer.send = (data) => {
          try {
            return send.call(muxer, data)
          } catch (error) {
            if (connection.status === 'open') throw error
            return false
          }
        }
        return muxer
      },
    }
  }
}

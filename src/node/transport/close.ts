import type { Connection, Stream } from '@libp2p/interface'

/**
 * Closes a connection at once. libp2p's abort throws half-way when the socket is closing already or when a stream's close event
 * comes back to it; what it has done by then it does not do again, so the second call does the rest. Never throws.
 */
export function abortConnection(connection: Connection, reason: string): void {
  for (let tries = 0; tries < 2; tries++) {
    try {
      connection.abort(new Error(reason))
      return
    } catch {
      // once more
    }
  }
}

/** Resets a stream. Never throws. */
export function abortStream(stream: Stream, error: Error): void {
  try {
    stream.abort(error)
  } catch {
    // It is closing by itself.
  }
}

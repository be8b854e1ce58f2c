import type { MeshBackend } from '../../src/node/types.ts'
import type { Context } from './context.ts'
import { formatBytes } from './format.ts'
import { HAND_ON_TELL_MS } from './limits.ts'
import { note } from './output.ts'

type OnHandOn = (
  tell: (progress: { readonly bytesLeft: number; readonly bytesTotal: number }) => void,
) => () => void

/** Says, while a peer in this process leaves, what it still hands on. Returns what ends the telling. */
export function tellHandOn(context: Context, backend: MeshBackend, silent: boolean): () => void {
  const { onHandOn } = backend as MeshBackend & { readonly onHandOn?: OnHandOn }
  let toldAt = Number.NEGATIVE_INFINITY
  return (
    onHandOn?.(({ bytesLeft }) => {
      if (bytesLeft === 0 || context.now() - toldAt < HAND_ON_TELL_MS) return
      toldAt = context.now()
      const size = formatBytes(bytesLeft)
      note(
        context,
        `waiting to hand on ${size} of results that only this peer has; Ctrl-C again to leave at once`,
        silent,
      )
    }) ?? (() => {})
  )
}

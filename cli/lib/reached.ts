import { otherPeers } from './come-back.ts'
import { plural } from './format.ts'
import type { Session } from './session.ts'

/** Who has heard of what a user did to a job, and when the others do: a line, or none when that cannot be asked any more. */
export async function reached(session: Session): Promise<string[]> {
  // A peer inside another command ends when its job does.
  const others = await otherPeers(session).catch(() => undefined)
  if (others === undefined) return []
  if (others > 0) {
    return [
      `told to ${plural(others, 'other peer')}; those that are away hear of it when they are back`,
    ]
  }
  return session.embedded
    ? [
        'no other peer is connected: others hear of it when a peer runs here again (`mesh join`) and meets them',
      ]
    : ['no other peer is connected: others hear of it when they are']
}

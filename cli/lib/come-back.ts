import type { Context } from './context.ts'
import { plural } from './format.ts'
import type { Session } from './session.ts'

/** What becomes of a job that the user leaves, and how to come back to it: lines for stderr. */
export async function comeBack(
  context: Context,
  session: Session,
  shortId: string,
): Promise<string[]> {
  const data = await dataFlag(context, session.dataDir)
  const command = `mesh results ${shortId}${data}`
  const end = `or end it: mesh cancel ${shortId}${data}`
  if (!session.embedded) {
    return [`job ${shortId} goes on without this command; come back with: ${command}`, end]
  }
  const others = await otherPeers(session)
  if (others > 0) {
    return [
      `job ${shortId} goes on on ${plural(others, 'other peer')}; come back with: ${command}`,
      end,
    ]
  }
  return [
    `no other peer has job ${shortId}: it is kept in ${session.dataDir} and stands still until a peer runs there again`,
    `go on and get the results: ${command}`,
    `or lend this machine to it: mesh join${data}`,
    end,
  ]
}

/** ' --data DIR', or nothing for the default folder. */
export async function dataFlag(context: Context, dataDir: string): Promise<string> {
  const isDefault = dataDir === (await context.defaultDataDir())
  return isDefault ? '' : ` --data ${shellWord(dataDir)}`
}

export async function otherPeers({ backend }: Session): Promise<number> {
  const peers = await backend.peers()
  return peers.filter((peer) => !peer.self && peer.connected).length
}

/** A word that a shell takes as it is. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

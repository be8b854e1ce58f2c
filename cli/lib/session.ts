import { existsSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isMeshError, MeshError } from '../../src/base/errors.ts'
import type { MeshBackend } from '../../src/node/types.ts'
import type { Context, PeerOptions } from './context.ts'
import { ATTACH_RETRY_MS, ATTACH_WAIT_MS } from './limits.ts'
import type { CommonOptions } from './options.ts'

/** A peer to talk to, for the length of one command. */
export interface Session {
  readonly backend: MeshBackend
  readonly dataDir: string
  /** The peer lives in this process and ends with it. */
  readonly embedded: boolean
}

export async function dataDirOf(context: Context, options: CommonOptions): Promise<string> {
  if (options.data === '') {
    throw new MeshError('ERR_MESH_OPTION_INVALID', '--data needs the path of a folder')
  }
  return resolve(options.data ?? (await context.defaultDataDir()))
}

/** @throws ERR_MESH_NO_PEER_RUNNING */
export async function attachOnly(context: Context, options: CommonOptions): Promise<Session> {
  const dataDir = await dataDirOf(context, options)
  const backend = await context.attach(dataDir)
  if (backend === undefined) throw noPeer(dataDir)
  return { backend, dataDir, embedded: false }
}

/** The peer that runs on the folder, else one in this process. */
export async function attachOrStart(
  context: Context,
  dataDir: string,
  peer: Omit<PeerOptions, 'dataDir' | 'embedded'>,
): Promise<Session> {
  const until = context.now() + ATTACH_WAIT_MS
  for (;;) {
    const running = await context.attach(dataDir)
    if (running !== undefined) return { backend: running, dataDir, embedded: false }
    try {
      const backend = await context.startPeer({ ...peer, dataDir, embedded: true })
      return { backend, dataDir, embedded: true }
    } catch (error) {
      // Another process has the folder but not yet (or no longer) its socket: it is starting or stopping.
      if (!isMeshError(error, 'ERR_MESH_FOLDER_LOCKED') || context.now() > until) throw error
      await delay(ATTACH_RETRY_MS)
    }
  }
}

/** For a session on another command's embedded peer: how to go on when that command ends first. */
export async function reopenerOf(
  context: Context,
  session: Session,
  peer: Omit<PeerOptions, 'dataDir' | 'embedded'>,
): Promise<{ readonly reopen?: () => Promise<Session> }> {
  if (session.embedded || !(await session.backend.status()).embedded) return {}
  return { reopen: async () => await attachOrStart(context, session.dataDir, peer) }
}

/**
 * For commands that only read: the running peer, else an embedded one that lends nothing and looks for nobody.
 * undefined when the folder holds no peer at all, so that reading never makes one.
 */
export async function attachOrRead(
  context: Context,
  dataDir: string,
): Promise<Session | undefined> {
  if (!holdsPeer(dataDir)) return undefined
  return await attachOrStart(context, dataDir, { cores: 0, mdns: false })
}

/** Runs `use` with the session and lets go of it, whatever happens; `closing` tells of that while it goes on. */
export async function withSession<T>(
  session: Session,
  use: (session: Session) => Promise<T>,
  closing?: () => () => void,
): Promise<T> {
  try {
    return await use(session)
  } finally {
    const closed = closing?.()
    await session.backend.close()
    closed?.()
  }
}

export function noPeer(dataDir: string): MeshError {
  return new MeshError('ERR_MESH_NO_PEER_RUNNING', `no peer runs on ${dataDir}`, {
    details: { dataDir },
  })
}

export function holdsPeer(dataDir: string): boolean {
  return existsSync(dataDir) && readdirSync(dataDir).length > 0
}

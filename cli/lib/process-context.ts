import { isMeshError } from '../../src/base/errors.ts'
import type { MeshBackend } from '../../src/node/types.ts'
import type { Context, PeerOptions, StopSignal } from './context.ts'

/** The real world. Everything heavy is imported when it is needed: `mesh --help` must not wait for libp2p. */
export function processContext(): Context {
  // Without a listener a closed pipe ends the process with a stack trace; writers see the error themselves.
  process.stdout.on('error', () => {})
  process.stderr.on('error', () => {})
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    now: () => performance.now(),
    wallClock: () => Date.now(),
    onSignal,
    exitNow: (code) => process.exit(code),
    defaultDataDir: async () => (await import('../../src/base/paths.ts')).defaultDataDir(),
    attach,
    startPeer,
  }
}

function onSignal(listener: (signal: StopSignal) => void): () => void {
  const signals: StopSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP']
  for (const signal of signals) process.on(signal, listener)
  return () => {
    for (const signal of signals) process.off(signal, listener)
  }
}

async function attach(dataDir: string): Promise<MeshBackend | undefined> {
  const [{ connectControl }, { socketPathFor }] = await Promise.all([
    import('../../src/node/control/client.ts'),
    import('../../src/node/control/socket-path.ts'),
  ])
  const backend = connectControl(socketPathFor(dataDir))
  try {
    await backend.status()
    return backend
  } catch (error) {
    await backend.close()
    if (isMeshError(error, 'ERR_MESH_NO_PEER_RUNNING')) return undefined
    throw error
  }
}

async function startPeer(options: PeerOptions): Promise<MeshBackend> {
  const [{ openLocalBackend }, { createLogger }] = await Promise.all([
    import('../../src/node/local-backend.ts'),
    import('../../src/base/logger.ts'),
  ])
  const { verbose, ...rest } = options
  return await openLocalBackend({ ...rest, logger: createLogger(verbose ? 'debug' : 'error') })
}

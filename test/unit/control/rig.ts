import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectControl } from '../../../src/node/control/client.ts'
import { type ControlServer, serveControl } from '../../../src/node/control/server.ts'
import type { MeshBackend } from '../../../src/node/types.ts'
import { FakeBackend, type FakeOptions } from '../../helpers/fake-backend.ts'

export interface Rig extends AsyncDisposable {
  readonly fake: FakeBackend
  /** The face under test: the fake itself, or the same through a socket. */
  readonly backend: MeshBackend
}

export interface ControlRig extends Rig {
  readonly dataDir: string
  readonly server: ControlServer
}

export async function directRig(options: FakeOptions = {}): Promise<Rig> {
  const fake = new FakeBackend(options)
  return { fake, backend: fake, [Symbol.asyncDispose]: () => fake.close() }
}

export async function controlRig(options: FakeOptions = {}): Promise<ControlRig> {
  const fake = new FakeBackend(options)
  const dataDir = await mkdtemp(join(tmpdir(), 'mesh-control-'))
  const onLeave = () => fake.leave()
  const server = await serveControl(fake, { dataDir, onLeave })
  const backend = connectControl(server.path)
  return {
    fake,
    backend,
    dataDir,
    server,
    [Symbol.asyncDispose]: async () => {
      await backend.close()
      await server.close()
      await fake.close()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

/** For what happens at the other end of a connection: as long as a loaded machine may need. */
export const PATIENCE = { timeout: 20_000, interval: 5 }

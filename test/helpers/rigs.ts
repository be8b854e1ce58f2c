import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { Mesh } from '../../src/client/mesh.ts'
import { type LocalBackend, openLocalBackend } from '../../src/node/local-backend.ts'
import type { OpenOptions } from '../../src/node/open-folder.ts'
import type { JobInfo } from '../../src/node/types.ts'
import type { JobId } from '../../src/scheduler/types.ts'

/** A real peer in this process, with real workers and a folder of its own. */
export interface Rig {
  readonly backend: LocalBackend
  readonly mesh: Mesh
  readonly dataDir: string
}

export interface Rigs {
  start(options?: OpenOptions): Promise<Rig>
  /** It leaves, as on Ctrl-C. */
  stop(rig: Rig): Promise<void>
  /** As a kill would end it: nothing is handed over, nobody is told. */
  kill(rig: Rig): Promise<void>
  /** Two peers that know each other. */
  pair(one?: OpenOptions, other?: OpenOptions): Promise<[Rig, Rig]>
  /** An empty folder. */
  folder(): Promise<string>
}

/** Peers on loopback with one worker each, unless told otherwise; after each test they stop, and their folders go. */
export function useRigs(defaults: OpenOptions = {}): Rigs {
  const folders: string[] = []
  const open: LocalBackend[] = []

  afterEach(async () => {
    for (const backend of open.splice(0)) await backend.close()
    for (const dir of folders.splice(0)) await rm(dir, { recursive: true, force: true })
  })

  async function folder(): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), 'mesh-rig-'))
    folders.push(dir)
    return dir
  }

  async function start(options: OpenOptions = {}): Promise<Rig> {
    const dataDir = options.dataDir ?? (await folder())
    const backend = await openLocalBackend({
      mdns: false,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      cores: 1,
      ...defaults,
      ...options,
      dataDir,
    })
    open.push(backend)
    return { backend, mesh: new Mesh(backend), dataDir }
  }

  async function stop({ backend }: Rig): Promise<void> {
    open.splice(open.indexOf(backend), 1)
    await backend.close()
  }

  async function kill(rig: Rig): Promise<void> {
    const { peer } = rig.backend
    peer.upkeep.keepers.handOn = async () => ({ bytesLeft: 0, bytesTotal: 0 })
    Object.assign(peer, { handOver: async () => undefined })
    await stop(rig)
  }

  async function pair(one: OpenOptions = {}, other: OpenOptions = {}): Promise<[Rig, Rig]> {
    const a = await start(one)
    const b = await start({ ...other, ticket: await a.backend.ticket() })
    await connected(a, 1)
    return [a, b]
  }

  return { start, stop, kill, pair, folder }
}

/** Asks again until it is so. @throws after 20 s, with what was waited for */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + 20_000
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within 20 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export const connected = ({ backend }: Rig, count: number): Promise<void> =>
  until(`${count} connected`, () => backend.peer.transport.connected().length >= count)

export async function stateOf({ mesh }: Rig, id: string): Promise<JobInfo['state'] | undefined> {
  return (await mesh.jobs()).find((job) => job.id === id)?.state
}

/** Items that are final, as this peer knows. */
export const doneOf = ({ backend }: Rig, id: string): number =>
  backend.peer.scheduler.job(id as JobId)?.done ?? 0

/** No worker of it is busy. */
export const atRest = ({ backend }: Rig): boolean => backend.peer.runtime.stats().busy === 0

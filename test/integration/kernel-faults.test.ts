import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { MeshError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { Mesh } from '../../src/client/mesh.ts'
import { defineKernel } from '../../src/index.ts'
import { type LocalBackend, openLocalBackend } from '../../src/node/local-backend.ts'
import { kernelProcesses } from '../helpers/kernel-processes.ts'

const SIDE = 4096
const slow = defineKernel({
  name: 'slow',
  kernel() {
    let sum = 0
    for (let i = 0; i < 60000; i++) sum = sum * 0.5 + this.thread.y
    return sum
  },
  output: [16, 2000],
  loopMaxIterations: 60_000,
})

describe.skipIf(process.platform !== 'linux')(
  'kernels on two peers (Linux: looks for their processes)',
  () => {
    const folders: string[] = []
    const backends: LocalBackend[] = []
    let mesh: Mesh

    beforeAll(async () => {
      const open = async (name: string, cores: number, ticket?: string): Promise<LocalBackend> => {
        const dataDir = await mkdtemp(join(tmpdir(), 'mesh-kernel-faults-'))
        folders.push(dataDir)
        const backend = await openLocalBackend({
          ...{ dataDir, name, cores, mdns: false, listen: ['/ip4/127.0.0.1/tcp/0'] },
          ...{ gpu: { mode: 'off' }, logger: silentLogger },
          ...(ticket === undefined ? {} : { ticket }),
        })
        backends.unshift(backend)
        return backend
      }
      const one = await open('one', 1)
      const ticket = await one.ticket()
      await open('two', 1, ticket)
      mesh = new Mesh(await open('submitter', 0, ticket))
      while ((await mesh.peers()).filter(({ connected }) => connected).length < 3) {
        // peers() waits for nothing: without this no connection would ever be made.
        await new Promise((resolve) => setImmediate(resolve))
      }
    })

    afterAll(async () => {
      for (const backend of backends) await backend.close()
      for (const folder of folders) await rm(folder, { recursive: true, force: true })
    })

    it('kill -9 of a kernel process in mid-launch: the result is exact, no item fails', async () => {
      const job = await mesh.submit(slow)
      let killed = 0
      for await (const info of job.watch()) {
        const pids = kernelProcesses()
        if (killed >= 3 || info.done === 0 || pids.length === 0) continue
        process.kill(pids[killed % pids.length]!, 'SIGKILL')
        killed += 1
      }
      expect(killed).toBeGreaterThan(0)
      const { data } = await job.array()
      expect(data.every((value, at) => value === 2 * Math.floor(at / 16))).toBe(true)
      expect(await job.info()).toMatchObject({ state: 'finished', failed: 0 })
    })

    it('a peer whose kernel process does not start hands all on: no item fails', async () => {
      const two = backends.find(({ peer }) => peer.config.name === 'two')!
      vi.spyOn(two.peer.kernels, 'run').mockImplementation(() => ({
        done: Promise.reject(
          new MeshError('ERR_MESH_KERNEL_FAILED', 'the process ended with code 1'),
        ),
        abort: () => {},
      }))
      const kernel = defineKernel({
        name: 'small',
        kernel() {
          return this.thread.x * 2
        },
        output: [1000],
      })
      const job = await mesh.submit(kernel)
      const { data } = await job.array()
      expect(data.every((value, i) => value === 2 * i)).toBe(true)
      const info = await job.info()
      expect(info).toMatchObject({ state: 'finished', failed: 0 })
      expect(info.peers.map(({ name }) => name)).toEqual(['one'])
      expect((await two.status()).warnings.join()).toContain('ended with code 1')
      vi.restoreAllMocks()
    })

    it('an array of 64 MiB goes to each peer once, however many chunks read it', async () => {
      const data = new Float32Array(SIDE * SIDE).map((_, i) => i % 31)
      const rows = defineKernel({
        name: 'row sums',
        kernel(matrix) {
          let sum = 0
          for (let i = 0; i < 4096; i++) sum += matrix[this.thread.x][i]
          return sum
        },
        output: [SIDE],
        args: [{ data, size: [SIDE, SIDE] }],
        loopMaxIterations: 4096,
      })
      const large: string[] = []
      for (const { peer } of backends) {
        const { transport } = peer
        const fetch = transport.fetchBlob.bind(transport)
        vi.spyOn(transport, 'fetchBlob').mockImplementation(async (from, hash, ...rest) => {
          const found = await fetch(from, hash, ...rest)
          if (found !== undefined) large.push(`${peer.config.name} ${hash}`)
          return found
        })
      }
      const job = await mesh.submit(rows, undefined, { chunkSize: 128 })
      const sums = await job.array()
      expect(sums.data[7]).toBe(
        data.subarray(7 * SIDE, 8 * SIDE).reduce((sum, value) => sum + value, 0),
      )
      const info = await job.info()
      expect(info.log.chunks).toBeGreaterThanOrEqual(32)
      // The submitter has it; each of the others fetched it, or was given it to keep.
      const [bundle, matrix] = await backends[0]!.peer.inputs.blobsOf(
        info.id as never,
        backends[0]!.peer.scheduler.job(info.id as never)!.spec,
        backends[0]!.peer.id,
      )
      expect(bundle).not.toBe(matrix)
      const fetched = large.filter((line) => line.endsWith(matrix!))
      expect(new Set(fetched).size).toBe(fetched.length)
      for (const { peer } of backends) expect(await peer.store.blobs.has(matrix!)).toBe(true)
    })
  },
)

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { defineTask, isMeshError, joinMesh, type Mesh } from '../../src/index.ts'

describe('tasks that misbehave', () => {
  let mesh: Mesh
  let dataDir: string

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'mesh-hostile-'))
    mesh = await joinMesh({ dataDir, cores: 1, mdns: false, listen: ['/ip4/127.0.0.1/tcp/0'] })
  })

  afterAll(async () => {
    await mesh.stop()
    await rm(dataDir, { recursive: true, force: true })
  })

  it('cannot harm the peer by bending its clock', async () => {
    const values = await mesh.map(
      (n: number) => {
        performance.now = () => Number.NaN
        return n
      },
      Array.from({ length: 500 }, (_, i) => i),
    )
    expect(values).toHaveLength(500)
    expect(await mesh.map((n: number) => n + 1, [1])).toEqual([2])
  })

  it('cannot block a slot by closing the pipe that its worker listens on', async () => {
    const job = await mesh.submit(
      defineTask({
        name: 'deaf',
        run: (n: number) => {
          if (n === 1) process.getBuiltinModule('node:fs').closeSync(3)
          return n
        },
      }),
      { range: [0, 3] },
      { chunkSize: 1 },
    )
    expect(await job.collect()).toEqual([0, 1, 2])
    expect(await mesh.map((n: number) => n * 2, [4])).toEqual([8])
  })

  it('cannot return a value that would come back as another one', async () => {
    const outcome = await mesh
      .map((text: string) => JSON.parse(text), ['{"a":1}', '{"__proto__":{"x":1}}'])
      .then(
        () => undefined,
        (error: unknown) => error,
      )
    expect(isMeshError(outcome, 'ERR_MESH_ITEMS_FAILED')).toBe(true)
    if (!isMeshError(outcome)) return
    expect(outcome.details.failures).toMatchObject([
      {
        index: 1,
        code: 'ERR_MESH_VALUE_UNSENDABLE',
        message: expect.stringContaining('__proto__'),
      },
    ])
  })
})

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { defineTask, isMeshError, joinMesh, type Mesh } from '../../src/index.ts'

const LOOPBACK = ['/ip4/127.0.0.1/tcp/0']
const folders: string[] = []

async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'mesh-int-'))
  folders.push(dir)
  return dir
}

const options = { mdns: false, listen: LOOPBACK }

afterAll(async () => {
  for (const dir of folders) await rm(dir, { recursive: true, force: true })
})

describe('a mesh of two lending peers and a submitter', () => {
  let one: Mesh
  let two: Mesh
  let mesh: Mesh

  beforeAll(async () => {
    one = await joinMesh({ ...options, dataDir: await folder(), cores: 1, name: 'one' })
    const ticket = await one.ticket()
    two = await joinMesh({ ...options, dataDir: await folder(), cores: 1, name: 'two', ticket })
    mesh = await joinMesh({ ...options, dataDir: await folder(), cores: 0, name: 'sub', ticket })
    await connected(mesh, 3)
  })

  afterAll(async () => {
    await mesh?.stop()
    await two?.stop()
    await one?.stop()
  })

  it('runs a million items on both peers, exactly, in order', async () => {
    const square = defineTask({ name: 'square', run: (x: number) => x * x })
    const job = await mesh.submit(square, { range: [0, 1_000_000] })
    const values = (await job.collect()) as number[]
    expect(values.length).toBe(1_000_000)
    expect(values.every((value, i) => value === i * i)).toBe(true)
    const info = await job.info()
    expect(info).toMatchObject({ state: 'finished', done: 1_000_000, failed: 0 })
    expect(info.peers.map((peer) => peer.name).sort()).toEqual(['one', 'two'])
    expect(info.peers.reduce((sum, peer) => sum + peer.done, 0)).toBe(1_000_000)
  })

  it('yields every item once as they come', async () => {
    const job = await mesh.submit(defineTask({ name: 'slow', run: async (x: number) => x + 1 }), {
      range: [10, 3010],
    })
    const seen = new Set<number>()
    for await (const { index, value } of job) {
      expect(value).toBe(index + 11)
      expect(seen.has(index)).toBe(false)
      seen.add(index)
    }
    expect(seen.size).toBe(3000)
  })

  it('maps items of any sendable kind', async () => {
    const items = [1, 'two', { three: [3] }, new Uint8Array([4]), 5n, undefined, null, new Date(7)]
    expect(await mesh.map((item: unknown) => item, items)).toEqual(items)
  })

  it('spreads large inputs that are shipped in pieces', async () => {
    const items = Array.from({ length: 200_000 }, (_, i) => ({ word: `word-${i}`, n: i }))
    const lengths = await mesh.map(
      (item: { word: string; n: number }) => item.word.length + item.n,
      items,
    )
    expect(lengths.every((value, i) => value === `word-${i}`.length + i)).toBe(true)
  })

  it('takes an async iterable', async () => {
    async function* source() {
      for (let i = 0; i < 5000; i += 1) yield i
    }
    const job = await mesh.submit(
      defineTask({ name: 'double', run: (x: number) => 2 * x }),
      source(),
    )
    expect(await job.collect()).toEqual(Array.from({ length: 5000 }, (_, i) => 2 * i))
  })

  it('finishes an empty job at once', async () => {
    expect(await mesh.map((x: number) => x, [])).toEqual([])
    const job = await mesh.submit(defineTask({ name: 'none', run: (x: number) => x }), {
      range: [5, 5],
    })
    expect(await job.collect()).toEqual([])
    expect((await job.info()).state).toBe('finished')
  })

  it('tells which items failed and why, and keeps the others', async () => {
    const task = defineTask({
      name: 'picky',
      run: (x: number) => {
        if (x % 10 === 3) throw new RangeError(`no ${x}`)
        return x
      },
    })
    const job = await mesh.submit(task, { range: [0, 100] })
    const error = await job.collect().then(
      () => undefined,
      (e: unknown) => e,
    )
    expect(isMeshError(error, 'ERR_MESH_ITEMS_FAILED')).toBe(true)
    if (!isMeshError(error)) return
    const { values, failures } = error.details as {
      values: unknown[]
      failures: { index: number; message: string; name: string }[]
    }
    expect(failures.map((f) => f.index)).toEqual([3, 13, 23, 33, 43, 53, 63, 73, 83, 93])
    expect(failures[1]).toMatchObject({ name: 'RangeError', message: 'no 13' })
    expect(values[4]).toBe(4)
    expect((await job.info()).failed).toBe(10)
  })

  it('gives args, attempts, state and the peer to a task', async () => {
    const task = defineTask({
      name: 'context',
      setup: (ctx) => ({ base: (ctx.args as { base: number }).base }),
      run: (x: number, ctx) => {
        if (ctx.attempt === 1 && x === 2) throw new Error('once')
        return [x + (ctx.state as { base: number }).base, typeof ctx.peer.id, ctx.attempt]
      },
    })
    const values = await mesh.map(task, [1, 2], { args: { base: 100 }, retries: 2 })
    expect(values).toEqual([
      [101, 'string', 1],
      [102, 'string', 2],
    ])
  })

  it('runs jobs of several submitters side by side', async () => {
    const jobs = await Promise.all(
      [one, two, mesh].map((m, i) =>
        m.map(
          (x: number, ctx: { args: unknown }) => x * (ctx.args as number),
          Array.from({ length: 2000 }, (_, n) => n),
          { args: i + 1 },
        ),
      ),
    )
    for (const [i, values] of jobs.entries()) {
      expect(values.every((value, n) => value === n * (i + 1))).toBe(true)
    }
  })

  it('shows peers, jobs and status', async () => {
    const peers = await mesh.peers()
    expect(peers.map((peer) => peer.name).sort()).toEqual(['one', 'sub', 'two'])
    expect(peers.filter((peer) => peer.self).map((peer) => peer.name)).toEqual(['sub'])
    expect((await mesh.jobs()).length).toBeGreaterThan(3)
    expect((await mesh.status()).peers).toBe(2)
  })

  it('brings console output to whoever asks', async () => {
    const job = await mesh.submit(
      defineTask({
        name: 'talk',
        run: (x: number) => {
          console.log(`item ${x} speaks`)
          return x
        },
      }),
      { range: [0, 20] },
    )
    await job.collect()
    const lines: string[] = []
    for await (const line of job.logs()) lines.push(line.text)
    expect(lines.filter((text) => / speaks$/.test(text)).length).toBe(20)
  })
})

describe('one peer alone', () => {
  const open: Mesh[] = []
  afterEach(async () => {
    for (const mesh of open.splice(0)) await mesh.stop()
  })

  async function alone(dataDir: string, cores = 2): Promise<Mesh> {
    const mesh = await joinMesh({ ...options, dataDir, cores })
    open.push(mesh)
    return mesh
  }

  it('works at once, and gives results again after a restart', async () => {
    const dataDir = await folder()
    const first = await alone(dataDir)
    const job = await first.submit(defineTask({ name: 'cube', run: (x: number) => x ** 3 }), {
      range: [0, 50_000],
    })
    const values = await job.collect()
    await first.stop()
    open.pop()
    const again = await alone(dataDir)
    const same = await again.job(job.id)
    expect(await same.collect()).toEqual(values)
  })

  it('keeps an unfinished job on disk and goes on after a restart', async () => {
    const dataDir = await folder()
    const first = await alone(dataDir, 1)
    const job = await first.submit(
      defineTask({
        name: 'slowish',
        run: async (x: number) => {
          await new Promise((resolve) => setTimeout(resolve, 5))
          return x * 3
        },
      }),
      { range: [0, 400] },
    )
    for await (const info of job.watch()) if (info.done > 50) break
    await first.stop()
    open.pop()
    const again = await alone(dataDir, 1)
    const same = await again.job(job.id)
    expect(await same.collect()).toEqual(Array.from({ length: 400 }, (_, i) => i * 3))
  })

  it('refuses a second process on its folder', async () => {
    const dataDir = await folder()
    await alone(dataDir)
    await expect(joinMesh({ ...options, dataDir })).rejects.toMatchObject({
      code: 'ERR_MESH_FOLDER_LOCKED',
      message: expect.stringMatching(/this process|process \d+/),
    })
  })

  it('keeps its identity and its ticket over restarts', async () => {
    const dataDir = await folder()
    const first = await joinMesh({ dataDir, cores: 0, mdns: false, listen: LOOPBACK })
    const id = (await first.status()).peer.id
    const ticket = await first.ticket()
    const port = /tcp\/(\d+)/.exec((await first.status()).addresses[0]!)![1]
    await first.stop()
    const again = await joinMesh({
      dataDir,
      cores: 0,
      mdns: false,
      listen: [`/ip4/127.0.0.1/tcp/${port}`],
    })
    open.push(again)
    expect((await again.status()).peer.id).toBe(id)
    expect(await again.ticket()).toBe(ticket)
  })
})

describe('tickets', () => {
  it('says a ticket is damaged, of another mesh, or that nobody answers', async () => {
    const one = await joinMesh({ ...options, dataDir: await folder(), cores: 0 })
    const other = await joinMesh({ ...options, dataDir: await folder(), cores: 0 })
    const ticket = await one.ticket()
    const otherTicket = await other.ticket()
    await expect(
      joinMesh({ ...options, dataDir: await folder(), ticket: ticket.slice(0, -3) }),
    ).rejects.toMatchObject({ code: 'ERR_MESH_TICKET_DAMAGED' })
    const joined = await folder()
    const member = await joinMesh({ ...options, dataDir: joined, ticket, cores: 0 })
    await member.stop()
    await expect(
      joinMesh({ ...options, dataDir: joined, ticket: otherTicket }),
    ).rejects.toMatchObject({
      code: 'ERR_MESH_TICKET_MISMATCH',
    })
    await other.stop()
    await expect(
      joinMesh({ ...options, dataDir: await folder(), ticket: otherTicket, cores: 0 }),
    ).rejects.toMatchObject({ code: 'ERR_MESH_UNREACHABLE' })
    await one.stop()
  })
})

describe('task files', () => {
  it('bundles npm imports and local modules, and runs them elsewhere', async () => {
    const dir = await folder()
    await writeFile(join(dir, 'helper.ts'), 'export const shift = (x: number): number => x + 7\n')
    await writeFile(
      join(dir, 'task.ts'),
      `import { defineTask } from 'meshwork'
import { shift } from './helper.ts'
export default defineTask({ name: 'shifted', run: (x: number) => shift(x) })
`,
    )
    const one = await joinMesh({ ...options, dataDir: await folder(), cores: 1 })
    const mesh = await joinMesh({
      ...options,
      dataDir: await folder(),
      cores: 0,
      ticket: await one.ticket(),
    })
    await connected(mesh, 2)
    expect(await mesh.map(join(dir, 'task.ts'), [1, 2, 3])).toEqual([8, 9, 10])
    await mesh.stop()
    await one.stop()
  })
})

/** Waits until `mesh` sees `count` connected peers, itself included. */
async function connected(mesh: Mesh, count: number): Promise<void> {
  const deadline = performance.now() + 20_000
  for (;;) {
    const peers = await mesh.peers()
    if (peers.filter((peer) => peer.connected).length >= count) return
    if (performance.now() > deadline) throw new Error(`only ${peers.length} peers`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { connect, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { connectControl } from '../../../src/node/control/client.ts'
import { MAX_BLOB_UPLOAD_BYTES } from '../../../src/node/control/limits.ts'
import { serveControl, socketPathFor } from '../../../src/node/control/server.ts'
import { FakeBackend, submitSource } from '../../helpers/fake-backend.ts'
import { type ControlRig, controlRig, PATIENCE } from './rig.ts'

interface Answer {
  readonly status: number
  readonly body: { code?: string; message?: string; details?: unknown }
  readonly allow: string | undefined
}

function ask(
  path: string,
  options: {
    method?: string
    url: string
    body?: string | Buffer
    headers?: Record<string, string>
  },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', url, body, headers = {} } = options
    const request = httpRequest({ socketPath: path, path: url, method, headers, agent: false })
    request.on('error', reject)
    request.on('response', async (response) => {
      const parts: Buffer[] = []
      for await (const part of response) parts.push(part as Buffer)
      resolve({
        status: response.statusCode!,
        body: JSON.parse(Buffer.concat(parts).toString()),
        allow: response.headers.allow,
      })
    })
    request.end(body)
  })
}

async function rawAnswer(path: string, bytes: string | Buffer): Promise<string> {
  const socket = connect(path)
  socket.end(bytes)
  let text = ''
  socket.on('data', (data: Buffer) => {
    text += data.toString('latin1')
  })
  await once(socket, 'close')
  return text
}

async function temporary(prefix = 'mesh-socket-'): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), prefix))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

const JOB = {
  task: { kind: 'module', name: 'x', bundle: 'ab'.repeat(32), bundleBytes: 5 },
  input: { kind: 'range', start: 0, count: 5 },
  options: {},
}
const post = (body: unknown) => ({ method: 'POST', url: '/v1/jobs', body: JSON.stringify(body) })

/** The peer still answers. */
async function expectAlive(rig: ControlRig): Promise<void> {
  expect(await rig.backend.ticket()).toBe('mesh1fake')
}

describe('bad requests', () => {
  it.each([
    [404, 'ERR_MESH_UNSUPPORTED', { url: '/' }],
    [404, 'ERR_MESH_UNSUPPORTED', { url: '/v2/status' }],
    [404, 'ERR_MESH_UNSUPPORTED', { url: '/v1/__proto__' }],
    [404, 'ERR_MESH_UNSUPPORTED', { url: '/v1/jobs/a/b/c' }],
    [404, 'ERR_MESH_UNSUPPORTED', { url: '/v1/jobs/a/__proto__' }],
    [405, 'ERR_MESH_UNSUPPORTED', { url: '/v1/status', method: 'DELETE' }],
    [405, 'ERR_MESH_UNSUPPORTED', { url: '/v1/leave' }],
    [400, 'ERR_MESH_PROTOCOL', { url: '/v1/jobs/%ff%fe' }],
    [400, 'ERR_MESH_PROTOCOL', { url: '//' }],
    [404, 'ERR_MESH_JOB_UNKNOWN', { url: '/v1/jobs/nope/watch' }],
    [404, 'ERR_MESH_JOB_UNKNOWN', { url: '/v1/jobs/nope/results' }],
    [400, 'ERR_MESH_OPTION_INVALID', { url: '/v1/jobs/last/results?order=size' }],
    [400, 'ERR_MESH_PROTOCOL', { method: 'POST', url: '/v1/jobs', body: '{"task":' }],
    [400, 'ERR_MESH_PROTOCOL', { method: 'POST', url: '/v1/jobs', body: Buffer.from([0xff]) }],
    [400, 'ERR_MESH_PROTOCOL', post(null)],
    [400, 'ERR_MESH_PROTOCOL', post([])],
    [400, 'ERR_MESH_PROTOCOL', post({ ...JOB, extra: 1 })],
    [400, 'ERR_MESH_PROTOCOL', post({ ...JOB, task: { ...JOB.task, bundle: 'AB' } })],
    [400, 'ERR_MESH_PROTOCOL', post({ ...JOB, task: { ...JOB.task, name: '' } })],
    [400, 'ERR_MESH_PROTOCOL', post({ ...JOB, task: { ...JOB.task, kind: 'shell' } })],
    [400, 'ERR_MESH_PROTOCOL', post({ ...JOB, input: { kind: 'range', start: 0, count: -1 } })],
    [
      400,
      'ERR_MESH_PROTOCOL',
      post({ ...JOB, input: { kind: 'range', start: 2 ** 53 - 1, count: 2 } }),
    ],
    [400, 'ERR_MESH_PROTOCOL', post({ ...JOB, input: { kind: 'pieces', count: 1 } })],
    [400, 'ERR_MESH_OPTION_INVALID', post({ ...JOB, options: { chunkSize: 0 } })],
    [400, 'ERR_MESH_OPTION_INVALID', post({ ...JOB, options: { args: 'zz' } })],
    [413, 'ERR_MESH_TOO_LARGE', post({ ...JOB, pad: 'x'.repeat(100_000) })],
  ])('%i %s for %o', async (status, code, request) => {
    await using rig = await controlRig()
    const answer = await ask(rig.server.path, request)
    expect(answer).toMatchObject({ status, body: { code, message: expect.any(String) } })
    expect(rig.fake.requests).toEqual([])
    await expectAlive(rig)
  })

  it('says which methods a path takes', async () => {
    await using rig = await controlRig()
    expect((await ask(rig.server.path, { url: '/v1/jobs', method: 'PUT' })).allow).toBe('GET, POST')
  })

  it('answers what is no HTTP, and goes on', async () => {
    await using rig = await controlRig()
    expect(await rawAnswer(rig.server.path, 'hello\n')).toMatch(
      /^HTTP\/1\.1 400 .*ERR_MESH_PROTOCOL/s,
    )
    expect(await rawAnswer(rig.server.path, Buffer.alloc(70_000, 0xff))).toMatch(/^HTTP\/1\.1 400 /)
    const long = `GET /v1/status HTTP/1.1\r\nhost: x\r\nbig: ${'x'.repeat(40_000)}\r\n\r\n`
    expect(await rawAnswer(rig.server.path, long)).toMatch(/^HTTP\/1\.1 431 /)
    await expectAlive(rig)
  })

  it('refuses an oversized blob before it is sent, and while it is', async () => {
    await using rig = await controlRig()
    const headers = { 'content-length': String(MAX_BLOB_UPLOAD_BYTES + 1) }
    const socket = connect(rig.server.path)
    socket.write(
      `POST /v1/blobs HTTP/1.1\r\nhost: x\r\ncontent-length: ${headers['content-length']}\r\n\r\n`,
    )
    const [head] = (await once(socket, 'data')) as [Buffer]
    expect(head.toString()).toMatch(/^HTTP\/1\.1 413 /)
    socket.destroy()

    // Without a length it shows only as it comes.
    const answer = await new Promise<number>((resolve, reject) => {
      const request = httpRequest({
        socketPath: rig.server.path,
        path: '/v1/blobs',
        method: 'POST',
        agent: false,
      })
      request.on('error', reject)
      request.on('response', (response) => {
        response.resume()
        resolve(response.statusCode!)
      })
      const part = Buffer.alloc(1024 * 1024)
      for (let sent = 0; sent <= MAX_BLOB_UPLOAD_BYTES; sent += part.length) request.write(part)
      request.end()
    })
    expect(answer).toBe(413)
    expect(rig.fake.puts).toEqual([])
    await expectAlive(rig)
  })

  it('forgets an upload that is cut off', async () => {
    await using rig = await controlRig()
    // More than may run at once: each must give its turn back.
    for (let i = 0; i < 10; i++) {
      const socket = connect(rig.server.path)
      socket.write('POST /v1/blobs HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf')
      await once(socket, 'connect')
      socket.destroy()
    }
    expect(await rig.backend.putBlob(Buffer.from('whole'))).toMatchObject({ sizeBytes: 5 })
    expect(rig.fake.puts).toEqual([5])
  })

  it('tells of an error that is no MeshError as internal, without a stack', async () => {
    await using rig = await controlRig()
    rig.fake.refuse = new TypeError('x is not a function')
    const answer = await ask(rig.server.path, { url: '/v1/status' })
    expect(answer).toMatchObject({
      status: 500,
      body: { code: 'ERR_MESH_INTERNAL', message: 'TypeError: x is not a function', details: {} },
    })
  })
})

describe('the socket', () => {
  it('is closed to other users, from the start', async () => {
    await using rig = await controlRig()
    expect(statSync(rig.server.path).mode & 0o777).toBe(0o600)
    expect(rig.server.path).toBe(socketPathFor(rig.dataDir))
    expect(dirname(rig.server.path)).toBe(rig.dataDir)
  })

  it('is gone after close, and newcomers are told that no peer runs', async () => {
    await using rig = await controlRig()
    await rig.backend.status()
    await rig.server.close()
    expect(existsSync(rig.server.path)).toBe(false)
    await expect(rig.backend.status()).rejects.toMatchObject({ code: 'ERR_MESH_NO_PEER_RUNNING' })
  })

  it('replaces what a dead process left, but not a socket that is served', async () => {
    const dataDir = await temporary()
    const path = socketPathFor(dataDir)
    const old = createServer().listen(path)
    await once(old, 'listening')
    const options = { dataDir, onLeave: () => undefined }
    await expect(serveControl(new FakeBackend(), options)).rejects.toMatchObject({
      code: 'ERR_MESH_FOLDER_LOCKED',
    })
    // Closing would remove the file: a killed process does not, so put a dead one back by its link.
    const kept = `${path}.kept`
    const { link, rename } = await import('node:fs/promises')
    await link(path, kept)
    old.close()
    await once(old, 'close')
    await rename(kept, path)
    const server = await serveControl(new FakeBackend(), options)
    expect(await connectControl(path).ticket()).toBe('mesh1fake')
    await server.close()
  })

  it('does not remove a file that is no socket', async () => {
    const dataDir = await temporary()
    await writeFile(socketPathFor(dataDir), 'precious')
    const options = { dataDir, onLeave: () => undefined }
    await expect(serveControl(new FakeBackend(), options)).rejects.toMatchObject({
      code: 'ERR_MESH_FOLDER_LOCKED',
      message: expect.stringContaining('in the way'),
    })
    expect(existsSync(socketPathFor(dataDir))).toBe(true)
  })

  it('has a short path when the data folder is deep, in a folder closed to others', async () => {
    const dir = await temporary()
    const dataDir = join(dir, 'd'.repeat(60), 'e'.repeat(60))
    await mkdir(dataDir, { recursive: true })
    vi.stubEnv('TMPDIR', dir)
    onTestFinished(() => void vi.unstubAllEnvs())
    const path = socketPathFor(dataDir)
    expect(Buffer.byteLength(path)).toBeLessThanOrEqual(100)
    expect(dirname(path)).toBe(join(dir, `meshwork-${userInfo().uid}`))
    await mkdir(dirname(path), { recursive: true })
    await chmod(dirname(path), 0o755)
    const server = await serveControl(new FakeBackend(), { dataDir, onLeave: () => undefined })
    expect(server.path).toBe(path)
    expect(statSync(dirname(path)).mode & 0o777).toBe(0o700)
    await server.close()
    expect(existsSync(path)).toBe(false)
  })

  it('is the same by whatever link one comes to the folder', async () => {
    const dir = await temporary()
    await mkdir(join(dir, 'real'))
    await symlink(join(dir, 'real'), join(dir, 'link'))
    expect(socketPathFor(join(dir, 'link'))).toBe(socketPathFor(join(dir, 'real')))
    expect(socketPathFor(join(dir, 'link', 'new'))).toBe(socketPathFor(join(dir, 'real', 'new')))
  })
})

describe('a peer that goes away', () => {
  it('ends what it was streaming, and close waits for no reader', async () => {
    await using rig = await controlRig({ held: true })
    const { job } = await submitSource(rig.backend, 'export default (x) => x', 10)
    const infos = rig.backend.watch(job)[Symbol.asyncIterator]()
    await infos.next()
    const next = infos.next()
    await rig.server.close()
    // As in one process: the stream ends, and the last state that was seen says that the job had not.
    expect(await next).toEqual({ done: true, value: undefined })
  })

  it('waits for no reader that does not read', async () => {
    await using rig = await controlRig({ spanItems: 1 })
    const source = `export default () => 'x'.repeat(1024 * 1024)`
    const { job } = await submitSource(rig.backend, source, 16)
    await Promise.all(rig.fake.running)
    const socket = connect(rig.server.path).pause()
    socket.on('error', () => undefined)
    socket.write(`GET /v1/jobs/${job}/results HTTP/1.1\r\nhost: x\r\n\r\n`)
    await once(socket, 'readable')
    await rig.server.close()
    expect(existsSync(rig.server.path)).toBe(false)
    socket.destroy()
  })

  it('shows as ERR_MESH_STOPPED to readers when it is cut off', async () => {
    const dataDir = await temporary()
    const path = socketPathFor(dataDir)
    const answers = [
      'HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n',
      'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"half"',
      '',
    ]
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.once('data', () => {
        const answer = answers.shift() ?? ''
        if (answer === '') socket.destroy()
        else socket.write(answer, () => socket.destroy())
      })
    }).listen(path)
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const backend = connectControl(path)
    const job = 'ab'.repeat(32) as Parameters<typeof backend.watch>[0]
    const stopped = { name: 'MeshError', code: 'ERR_MESH_STOPPED' }
    await expect(backend.watch(job)[Symbol.asyncIterator]().next()).rejects.toMatchObject(stopped)
    await expect(backend.status()).rejects.toMatchObject(stopped)
    await expect(backend.ticket()).rejects.toMatchObject(stopped)
    await backend.close()
  })

  it('is not needed any more once the handle is closed', async () => {
    await using rig = await controlRig({ held: true })
    const { job } = await submitSource(rig.backend, 'export default (x) => x', 10)
    const infos = rig.backend.watch(job)[Symbol.asyncIterator]()
    await infos.next()
    const next = infos.next()
    next.catch(() => undefined)
    await rig.backend.close()
    await expect(next).rejects.toMatchObject({ code: 'ERR_MESH_STOPPED' })
    await expect(rig.backend.status()).rejects.toMatchObject({ code: 'ERR_MESH_STOPPED' })
    await expect.poll(() => rig.fake.readers, PATIENCE).toBe(0)
  })

  it('answers a caller of leave, and every other one, before it is gone', async () => {
    const fake = new FakeBackend({ held: true })
    const dataDir = await temporary()
    const stopped: string[] = []
    // As a peer does it: its own server first, the rest after, and nothing to wait for.
    const server = await serveControl(fake, {
      dataDir,
      onLeave: () => void server.close().then(() => stopped.push('server')),
    })
    const first = connectControl(server.path)
    const second = connectControl(server.path)
    await Promise.all([first.leave(), second.leave()])
    await expect.poll(() => stopped, PATIENCE).toEqual(['server'])
    await fake.close()
  })
})

describe('a slow reader', () => {
  it('holds the stream back instead of filling the memory of the peer', async () => {
    await using rig = await controlRig({ spanItems: 1 })
    const source = `export default () => 'x'.repeat(1024 * 1024)`
    const { job } = await submitSource(rig.backend, source, 64)
    await Promise.all(rig.fake.running)
    const given: number[] = []
    const original = rig.fake.results.bind(rig.fake)
    rig.fake.results = async function* (id, options) {
      for await (const span of original(id, options)) {
        given.push(span.lo)
        yield span
      }
    }
    const spans = rig.backend.results(job, { order: 'item', wait: true })[Symbol.asyncIterator]()
    await spans.next()
    // Some rounds of both ends' loops: what can be written without a reader has been.
    for (let i = 0; i < 200; i++) await rig.backend.ticket()
    expect(given.length).toBeLessThan(16)
    let rest = 0
    while ((await spans.next()).done !== true) rest += 1
    expect(rest).toBe(63)
    expect(given).toHaveLength(64)
  })
})

describe('a program with a thousand jobs', () => {
  it('asks for all, and follows all, at once', async () => {
    await using rig = await controlRig()
    const { job } = await submitSource(rig.backend, 'export default (x) => x', 3)
    const asked = await Promise.all(Array.from({ length: 1_000 }, () => rig.backend.job(job)))
    expect(new Set(asked.map(({ id }) => id))).toEqual(new Set([job]))
    const followed = await Promise.all(
      Array.from({ length: 1_000 }, async () => {
        for await (const info of rig.backend.watch(job)) return info.id
        return undefined
      }),
    )
    expect(new Set(followed)).toEqual(new Set([job]))
  })
})

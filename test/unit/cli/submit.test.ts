import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { JobRequest } from '../../../src/node/types.ts'
import { readManifest } from '../../../src/runtime/manifest.ts'
import { decodeSegments, decodeValue } from '../../../src/runtime/segment.ts'
import type { BlobHash, JobId } from '../../../src/scheduler/types.ts'
import { fakeBackend, JOB_ID, jobInfo, mesh, peerInfo, type World } from './helpers.ts'

let folder: string
let task: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mesh-cli-'))
  task = join(folder, 'echo.ts')
  await writeFile(
    task,
    "import { defineTask } from 'meshwork'\nexport default defineTask({ name: 'echo', run: (item) => item })\n",
  )
})
afterAll(async () => {
  await rm(folder, { recursive: true })
})

/** A peer that takes a job and says at once that it is done; what it was given is looked at. */
function receiver() {
  const requests: JobRequest[] = []
  const blobs = new Map<string, Uint8Array>()
  const info = jobInfo({ state: 'finished', items: 3, done: 3, finishedAt: null, peersAtWork: 0 })
  const backend = fakeBackend([{ info, spans: [{ lo: 0, values: ['x', 'y', 'z'] }] }], {
    putBlob: async (bytes) => {
      const hash = createHash('sha256').update(bytes).digest('hex') as BlobHash
      blobs.set(hash, bytes)
      return { hash, sizeBytes: bytes.byteLength }
    },
    submit: async (request) => {
      requests.push(request)
      return { job: JOB_ID as JobId, heldBy: [] }
    },
  })
  const items = (): unknown[] => {
    const { input } = requests[0]!
    if (input.kind === 'inline') {
      const segments = [...decodeSegments(Buffer.from(input.segment, 'hex'), 0)]
      return segments.flatMap((segment) => segment.values)
    }
    if (input.kind !== 'pieces') throw new Error('the items were not sent')
    return readManifest(blobs.get(input.manifest)!).flatMap((piece) =>
      [...decodeSegments(blobs.get(piece.hash)!, 0)].flatMap((segment) => segment.values),
    )
  }
  return { backend, requests, items }
}

function submit(flags: string[], world: World) {
  return mesh(['submit', task, ...flags, '--data', join(folder, 'data')], world)
}

describe('what a peer is given', () => {
  test('a range and every option', async () => {
    const { backend, requests } = receiver()
    const run = await submit(
      [
        ...['--range', '10..13', '--args', '{"a":[1]}', '--chunk-size', '2', '--time-limit', '1.5'],
        ...['--memory', '256', '--retries', '3', '--max-items-per-worker', '1_000'],
      ],
      { running: backend },
    )
    expect(run).toMatchObject({ code: 0, out: '"x"\n"y"\n"z"\n' })
    expect(run.err).toMatch(/^mesh: job ab12ab12 submitted\nmesh: primes: 3 items on 2 peers\n$/)
    expect(requests).toHaveLength(1)
    const { args, ...options } = requests[0]!.options
    expect(decodeValue(Buffer.from(args!, 'hex'))).toEqual({ a: [1] })
    expect(options).toEqual({
      chunkSize: 2,
      timeLimitMs: 1500,
      memoryBytes: 256 * 2 ** 20,
      retries: 3,
      maxItemsPerWorker: 1000,
    })
    expect(requests[0]).toMatchObject({
      task: { kind: 'module', name: 'echo' },
      input: { kind: 'range', start: 10, count: 3 },
    })
    expect(backend.closed).toBe(1)
  })

  test.each([
    [['-'], '{"a":1}\n\n2\n"s"\n', [{ a: 1 }, 2, 's']],
    [['-'], 'a\nb b\r\n\nc', ['a', 'b b', '', 'c']],
    [['--lines', '-'], '1\n2\n', ['1', '2']],
    [['--items', '-'], '1\n2\n', [1, 2]],
  ])('%j on a pipe', async (flags, stdin, items) => {
    const receiving = receiver()
    const run = await submit([...flags, '--detach', '--quiet'], {
      running: receiving.backend,
      stdin,
    })
    expect(run).toMatchObject({ code: 0, err: '' })
    expect(receiving.items()).toEqual(items)
  })

  test('a pipe that is not what its first line said: the line, and nothing submitted', async () => {
    const { backend, requests } = receiver()
    const run = await submit(['-', '--json'], { running: backend, stdin: '1\ntwo\n' })
    expect(run.code).toBe(2)
    expect(JSON.parse(run.out).error).toMatchObject({
      code: 'ERR_MESH_INPUT_INVALID',
      message: expect.stringMatching(/standard input.*line 2|line 2.*standard input/),
    })
    expect(requests).toEqual([])
  })

  test('options that the library refuses start no peer', async () => {
    const run = await submit(['--range', '0..1', '--memory', '1'], {})
    expect(run).toMatchObject({ code: 2, started: [] })
    expect(run.err).toMatch(/^mesh: --memory must be a number of MiB from 64/)
  })
})

describe('--detach', () => {
  test('the id alone on stdout; the peer is asked to hand it over', async () => {
    const { backend, requests } = receiver()
    const run = await submit(['--range', '0..3', '--detach'], { running: backend })
    expect(run).toMatchObject({ code: 0, out: `${JOB_ID}\n` })
    expect(run.err).toBe(
      'mesh: no other peer has all of the job: it lives as long as the peer that runs here\n',
    )
    expect(requests[0]!.detach).toBe(true)
    const json = await submit(['--range', '0..3', '--detach', '--json'], {
      running: receiver().backend,
    })
    expect(JSON.parse(json.out)).toEqual({ job: JOB_ID, heldBy: [] })
    expect(json.err).toBe('')
  })

  test('with nobody to hand it to, it says where the job is and how it goes on', async () => {
    const run = await submit(['--range', '0..3', '--detach'], { embedded: receiver().backend })
    expect(run.code).toBe(0)
    expect(run.err).toContain(`mesh join --data ${join(folder, 'data')}`)
    expect(run.started).toEqual([{ dataDir: join(folder, 'data'), mdns: true, embedded: true }])
  })
})

test('nobody lends cores: it says so, with the line for the next machine', async () => {
  const { backend } = receiver()
  backend.peers = async () => [peerInfo({ slots: 0 })]
  const run = await submit(['--range', '0..3', '--cores', '0'], { embedded: backend })
  expect(run.err).toContain('no peer lends cores yet')
  expect(run.err).toContain('mesh join mesh1ticket')
})

test('Ctrl-C while a silent pipe is read: nothing was submitted', async () => {
  const { backend, requests } = receiver()
  const stdin = new PassThrough()
  const run = await submit(['--lines', '-'], {
    running: backend,
    stdinStream: stdin,
    // The signal comes when the first line has been taken, and no more will.
    signals: (listener) => stdin.write('one\n', () => setImmediate(listener, 'SIGINT')),
  })
  expect(run).toMatchObject({ code: 130, out: '' })
  expect(run.err).toBe('mesh: interrupted before the job was submitted: nothing runs\n')
  expect(requests).toEqual([])
  expect(backend.closed).toBe(1)
})

import type { IncomingMessage, ServerResponse } from 'node:http'
import { MeshError } from '../../base/errors.ts'
import type { JobId } from '../../scheduler/types.ts'
import type { MeshBackend } from '../types.ts'
import { encodeHead, encodeSpan, type StreamEnd } from './frames.ts'
import type { Gate } from './gate.ts'
import { checkHash, readCancelRequest, readJobRequest, readRanges, readUpload } from './requests.ts'
import { StreamWriter } from './stream-writer.ts'
import { HttpError, toWire } from './wire-error.ts'

/** One request, with what it may need. */
export interface Exchange {
  readonly backend: MeshBackend
  readonly uploads: Gate
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly query: URLSearchParams
  /** Aborts when the other end is gone, or the server closes. */
  readonly signal: AbortSignal
  /** Answers first, then lets the peer stop. */
  leave(): void
}

type Handler = (exchange: Exchange, job: string) => Promise<void> | void

/** What the second segment of a path names. */
const NAMED: Readonly<Record<string, string>> = { jobs: 'JOB', blobs: 'HASH' }

/** Path below /v1, JOB and HASH standing for one segment; then method. */
const ROUTES: Readonly<Record<string, Readonly<Record<string, Handler>>>> = {
  status: { GET: async (x) => sendJson(x.response, 200, await x.backend.status()) },
  peers: { GET: async (x) => sendJson(x.response, 200, await x.backend.peers()) },
  ticket: { GET: async (x) => sendJson(x.response, 200, { ticket: await x.backend.ticket() }) },
  blobs: { POST: putBlob },
  'blobs/HASH': { GET: readBlob },
  jobs: {
    GET: async (x) => sendJson(x.response, 200, await x.backend.jobs()),
    POST: async (x) =>
      sendJson(x.response, 201, await x.backend.submit(await readJobRequest(x.request))),
  },
  'jobs/JOB': { GET: async (x, job) => sendJson(x.response, 200, await x.backend.job(job)) },
  'jobs/JOB/watch': { GET: watch },
  'jobs/JOB/results': { GET: results, POST: results },
  'jobs/JOB/logs': { GET: logs },
  'jobs/JOB/forget': {
    POST: async (x, job) => sendJson(x.response, 200, { job: await x.backend.forget(job) }),
  },
  'jobs/JOB/pause': {
    POST: async (x, job) => sendJson(x.response, 200, { job: await x.backend.pause(job) }),
  },
  'jobs/JOB/resume': {
    POST: async (x, job) => sendJson(x.response, 200, { job: await x.backend.resume(job) }),
  },
  cancel: { POST: cancel },
  leave: { POST: (x) => x.leave() },
}

/** @throws what the answer should say (src/node/control/wire-error.ts) */
export async function route(exchange: Exchange, path: string): Promise<void> {
  const [version, ...segments] = path.split('/').slice(1)
  const name = NAMED[segments[0] ?? '']
  const named = name === undefined ? undefined : segments[1]
  if (named !== undefined) segments[1] = name!
  const methods = version === 'v1' ? lookUp(ROUTES, segments.join('/')) : undefined
  if (methods === undefined) {
    throw new HttpError(404, 'ERR_MESH_UNSUPPORTED', `there is nothing at ${path.slice(0, 200)}`)
  }
  const handler = lookUp(methods, exchange.request.method ?? '')
  if (handler === undefined) {
    const allow = Object.keys(methods).join(', ')
    throw new HttpError(405, 'ERR_MESH_UNSUPPORTED', `${path} takes ${allow}`, { allow })
  }
  await handler(exchange, named === undefined ? '' : decode(named))
}

export function sendJson(
  response: ServerResponse,
  status: number,
  document: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) return
  const body = Buffer.from(`${JSON.stringify(document)}\n`)
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': body.byteLength,
    ...headers,
  })
  response.end(body)
}

async function putBlob(exchange: Exchange): Promise<void> {
  const { backend, uploads, request, response, signal } = exchange
  const put = await uploads.run(async () => backend.putBlob(await readUpload(request)), signal)
  sendJson(response, 201, put)
}

async function readBlob({ backend, response }: Exchange, hash: string): Promise<void> {
  const bytes = await backend.readBlob(checkHash(hash))
  if (response.destroyed) return
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'content-length': bytes.byteLength,
  })
  response.end(bytes)
}

async function cancel({ backend, request, response }: Exchange): Promise<void> {
  const { jobs, reason } = await readCancelRequest(request)
  sendJson(response, 200, { jobs: await backend.cancel(jobs, reason) })
}

async function watch(exchange: Exchange, job: string): Promise<void> {
  const { backend, signal } = exchange
  const id = await resolveJob(exchange, job)
  await streamNdjson(exchange, backend.watch(id, signal))
}

async function logs(exchange: Exchange, job: string): Promise<void> {
  const { backend, query, signal } = exchange
  const id = await resolveJob(exchange, job)
  await streamNdjson(exchange, backend.logs(id, { follow: query.get('follow') === '1', signal }))
}

async function results(exchange: Exchange, job: string): Promise<void> {
  const { backend, query, request, response, signal } = exchange
  const order = query.get('order') ?? 'item'
  if (order !== 'item' && order !== 'arrival') {
    throw new MeshError('ERR_MESH_OPTION_INVALID', 'order must be item or arrival', {
      details: { option: 'order' },
    })
  }
  const id = await resolveJob(exchange, job)
  const ranges = request.method === 'POST' ? await readRanges(request) : undefined
  response.writeHead(200, { 'content-type': 'application/octet-stream' })
  const wait = query.get('wait') !== '0'
  const recompute = query.get('recompute') === '1'
  const more = { ...(recompute && { recompute }), ...(ranges && { ranges }) }
  const options = { order, wait, signal, ...more } as const
  await stream(response, backend.results(id, options), encodeSpan, encodeHead)
}

/** A whole id is taken as it is: looking it up would cost a walk over all jobs. */
async function resolveJob({ backend }: Exchange, job: string): Promise<JobId> {
  return (/^[0-9a-f]{64}$/.test(job) ? job : (await backend.job(job)).id) as JobId
}

function streamNdjson(exchange: Exchange, source: AsyncIterable<object>): Promise<void> {
  const { response } = exchange
  const line = (document: object) => Buffer.from(`${JSON.stringify(document)}\n`)
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  return stream(response, source, (document) => [line(document)], line)
}

/** The source's end or error closes the stream, so that the reader can tell both from a peer that died. */
async function stream<T>(
  response: ServerResponse,
  source: AsyncIterable<T>,
  encode: (element: T) => Uint8Array[],
  encodeEnd: (end: StreamEnd) => Uint8Array,
): Promise<void> {
  const writer = new StreamWriter(response)
  // A reader that waits for the first change wants to know at once that it is being served.
  response.flushHeaders()
  try {
    for await (const element of source) {
      const written = writer.write(encode(element))
      if (!(written === true || (await written))) return
    }
    writer.end(encodeEnd({ end: true }))
  } catch (error) {
    writer.end(encodeEnd({ error: toWire(error) }))
  }
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch (cause) {
    throw new MeshError('ERR_MESH_PROTOCOL', 'the path is not percent-encoded UTF-8', { cause })
  }
}

function lookUp<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined
}

import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { fromHex } from '../../base/bytes.ts'
import { MeshError } from '../../base/errors.ts'
import type { Plan } from '../../scheduler/plan.ts'
import type { BlobHash, JobId } from '../../scheduler/types.ts'
import { decodePlan, encodePlan, graphOf } from '../../store/plan-codec.ts'
import type {
  JobInfo,
  JobRequest,
  LogLine,
  MeshBackend,
  MeshStatus,
  PeerInfo,
  ResultSpan,
  ResultsOptions,
  SubmitReply,
} from '../types.ts'
import { decodeNdjson, decodeSpans } from './frames.ts'
import {
  CONNECT_AGAIN_MS,
  CONNECT_TRIES,
  MAX_BLOB_UPLOAD_BYTES,
  MAX_CALLS_AT_ONCE,
  MAX_FRAME_PAYLOAD_BYTES,
  MAX_JSON_ANSWER_BYTES,
} from './limits.ts'
import { fromWire } from './wire-error.ts'

/**
 * A running peer, through its control socket. Connects when first used; every call may reject with ERR_MESH_NO_PEER_RUNNING (nobody
 * listens), ERR_MESH_STOPPED (the peer stopped meanwhile, or this handle was closed), and with what the peer itself says.
 */
export function connectControl(path: string): MeshBackend {
  return new ControlClient(path)
}

interface Call {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body?: Uint8Array
  readonly type?: string
  readonly signal?: AbortSignal | undefined
  /** May be sent again when a kept connection turns out to be dead. */
  readonly repeatable?: boolean
  /** The answer goes on for as long as there is something to tell: no other call waits for its end. */
  readonly followed?: boolean
}

class ControlClient implements MeshBackend {
  private readonly path: string
  private readonly agent = new Agent({
    keepAlive: true,
    maxFreeSockets: 4,
    maxSockets: MAX_CALLS_AT_ONCE,
  })
  /** For what is followed. */
  private readonly streams = new Agent()
  private readonly inFlight = new Set<ClientRequest>()
  private closed = false

  constructor(path: string) {
    this.path = path
  }

  status(): Promise<MeshStatus> {
    return this.get('status')
  }

  peers(): Promise<PeerInfo[]> {
    return this.get('peers')
  }

  jobs(): Promise<JobInfo[]> {
    return this.get('jobs')
  }

  job(id: string): Promise<JobInfo> {
    return this.get(`jobs/${encodeURIComponent(id)}`)
  }

  async ticket(): Promise<string> {
    return (await this.get<{ ticket: string }>('ticket')).ticket
  }

  async putBlob(bytes: Uint8Array): Promise<{ hash: BlobHash; sizeBytes: number }> {
    if (bytes.byteLength > MAX_BLOB_UPLOAD_BYTES) {
      throw new MeshError(
        'ERR_MESH_TOO_LARGE',
        `${bytes.byteLength} bytes are more than the ${MAX_BLOB_UPLOAD_BYTES} that a peer takes at once`,
        { details: { sizeBytes: bytes.byteLength, limit: MAX_BLOB_UPLOAD_BYTES } },
      )
    }
    const type = 'application/octet-stream'
    return this.json({ method: 'POST', path: 'blobs', body: bytes, type, repeatable: true })
  }

  async readBlob(hash: BlobHash): Promise<Uint8Array> {
    const answer = await this.open({ method: 'GET', path: `blobs/${hash}`, repeatable: true })
    return this.readBytes(answer, MAX_FRAME_PAYLOAD_BYTES)
  }

  async plan(job: JobId): Promise<Plan> {
    const { bundle, plan } = graphOf((await this.job(job)).task)
    return decodePlan(plan === undefined ? await this.readBlob(bundle) : fromHex(plan))
  }

  async submit({ plan, ...request }: JobRequest): Promise<SubmitReply> {
    const named = plan === undefined ? request : await this.withPlan(request, plan)
    const body = Buffer.from(JSON.stringify(named))
    return this.json({ ...jsonCall(body), path: 'jobs' })
  }

  /** A plan goes ahead as a blob: it may be larger than a request. */
  private async withPlan(request: JobRequest, plan: Plan): Promise<JobRequest> {
    const { hash, sizeBytes } = await this.putBlob(encodePlan(plan))
    return { ...request, task: { ...request.task, bundle: hash, bundleBytes: sizeBytes } }
  }

  watch(job: JobId, signal?: AbortSignal): AsyncIterable<JobInfo> {
    return this.stream(`jobs/${encodeURIComponent(job)}/watch`, signal, decodeNdjson<JobInfo>)
  }

  results(job: JobId, options: ResultsOptions): AsyncIterable<ResultSpan> {
    const recompute = options.recompute === true ? '&recompute=1' : ''
    const query = `order=${options.order}&wait=${options.wait ? 1 : 0}${recompute}`
    const path = `jobs/${encodeURIComponent(job)}/results?${query}`
    const { ranges } = options
    const body = ranges && Buffer.from(JSON.stringify({ ranges }))
    return this.stream(path, options.signal, decodeSpans, body)
  }

  logs(job: JobId, options: { follow: boolean; signal?: AbortSignal }): AsyncIterable<LogLine> {
    const path = `jobs/${encodeURIComponent(job)}/logs?follow=${options.follow ? 1 : 0}`
    return this.stream(path, options.signal, decodeNdjson<LogLine>)
  }

  async forget(id: string): Promise<JobId> {
    const path = `jobs/${encodeURIComponent(id)}/forget`
    return (await this.json<{ job: JobId }>({ method: 'POST', path })).job
  }

  async cancel(jobs: readonly string[] | 'all', reason: string): Promise<JobId[]> {
    const call = jsonCall(Buffer.from(JSON.stringify({ jobs, reason })))
    const path = 'cancel'
    return (await this.json<{ jobs: JobId[] }>({ ...call, path, repeatable: true })).jobs
  }

  pause(id: string): Promise<JobId> {
    return this.tell(id, 'pause')
  }

  resume(id: string): Promise<JobId> {
    return this.tell(id, 'resume')
  }

  private async tell(id: string, what: 'pause' | 'resume'): Promise<JobId> {
    const path = `jobs/${encodeURIComponent(id)}/${what}`
    return (await this.json<{ job: JobId }>({ method: 'POST', path, repeatable: true })).job
  }

  /** Resolves when the peer has stopped. */
  async leave(): Promise<void> {
    try {
      const answer = await this.open({ method: 'POST', path: 'leave' })
      for await (const _ of answer);
    } catch (error) {
      // Gone with the connection: what was asked for, whoever asked first.
      const { code } = this.explain(error)
      if (code !== 'ERR_MESH_STOPPED' || this.closed) throw error
    }
  }

  async close(): Promise<void> {
    this.closed = true
    for (const request of this.inFlight) request.destroy()
    this.agent.destroy()
    this.streams.destroy()
  }

  private get<T>(path: string): Promise<T> {
    return this.json({ method: 'GET', path, repeatable: true })
  }

  private async json<T>(call: Call): Promise<T> {
    const answer = await this.open(call)
    return (await this.readJson(answer)) as T
  }

  /** Reads a stream to its end marker; ends quietly when `signal` aborts, as a peer in this process does. */
  private async *stream<T>(
    path: string,
    signal: AbortSignal | undefined,
    decode: (source: AsyncIterable<Uint8Array>) => AsyncIterable<T>,
    body?: Uint8Array,
  ): AsyncGenerator<T> {
    if (signal?.aborted) return
    let answer: IncomingMessage | undefined
    try {
      const asked = body === undefined ? { method: 'GET' as const } : jsonCall(body)
      answer = await this.open({ ...asked, path, signal, repeatable: true, followed: true })
      for await (const element of decode(answer)) {
        if (signal?.aborted) return
        yield element
      }
    } catch (error) {
      if (!signal?.aborted) throw this.explain(error)
    } finally {
      // Left early or not: a connection that streamed is not kept.
      answer?.destroy()
    }
  }

  /** The answer's head has come, and is not an error. */
  private async open(call: Call): Promise<IncomingMessage> {
    const answer = await this.send(call)
    if (answer.statusCode !== undefined && answer.statusCode < 300) return answer
    throw fromWire(await this.readJson(answer))
  }

  private send(call: Call, again = false, tries = 1): Promise<IncomingMessage> {
    if (this.closed) return Promise.reject(closedHere())
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        socketPath: this.path,
        path: `/v1/${call.path}`,
        method: call.method,
        agent: call.followed === true ? this.streams : this.agent,
        headers: {
          host: 'mesh',
          ...(call.body !== undefined && {
            'content-type': call.type,
            'content-length': call.body.byteLength,
          }),
        },
      })
      const abort = () => request.destroy()
      this.inFlight.add(request)
      call.signal?.addEventListener('abort', abort)
      request.on('close', () => {
        this.inFlight.delete(request)
        call.signal?.removeEventListener('abort', abort)
      })
      request.on('response', resolve)
      request.on('error', (error: NodeJS.ErrnoException) => {
        const isWanted = !this.closed && call.signal?.aborted !== true
        if (error.code === 'EAGAIN' && tries < CONNECT_TRIES && isWanted) {
          // More connections at once than the system keeps for the peer: this one was never made.
          setTimeout(
            () => this.send(call, again, tries + 1).then(resolve, reject),
            CONNECT_AGAIN_MS,
          )
          return
        }
        const stale = request.reusedSocket && isReset(error) && call.repeatable === true
        if (stale && !again && isWanted) {
          this.send(call, true).then(resolve, reject)
        } else reject(this.explain(error))
      })
      request.end(call.body)
    })
  }

  private async readJson(answer: IncomingMessage): Promise<unknown> {
    const bytes = await this.readBytes(answer, MAX_JSON_ANSWER_BYTES)
    try {
      return JSON.parse(bytes.toString())
    } catch (cause) {
      throw unreadable('it is not JSON', cause)
    }
  }

  private async readBytes(answer: IncomingMessage, maxBytes: number): Promise<Buffer> {
    const parts: Uint8Array[] = []
    let sizeBytes = 0
    try {
      for await (const part of answer as AsyncIterable<Uint8Array>) {
        sizeBytes += part.byteLength
        if (sizeBytes > maxBytes) throw unreadable('it is too long')
        parts.push(part)
      }
    } catch (error) {
      throw this.explain(error)
    }
    return Buffer.concat(parts)
  }

  /** What the system says of a connection, in our words. */
  private explain(error: unknown): MeshError {
    if (error instanceof MeshError) return error
    if (this.closed) return closedHere()
    const { code, message } = error as NodeJS.ErrnoException
    const details = { path: this.path }
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTSOCK') {
      return new MeshError('ERR_MESH_NO_PEER_RUNNING', `no peer listens on ${this.path}`, {
        cause: error,
        details,
      })
    }
    if (code === 'EACCES' || code === 'EPERM') {
      return new MeshError(
        'ERR_MESH_NO_PEER_RUNNING',
        `${this.path} may not be opened: the peer runs as another user`,
        { cause: error, details },
      )
    }
    return new MeshError('ERR_MESH_STOPPED', `the peer stopped while it answered (${message})`, {
      cause: error,
      details,
    })
  }
}

function jsonCall(body: Uint8Array): Omit<Call, 'path'> {
  return { method: 'POST', body, type: 'application/json' }
}

function isReset(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ECONNRESET' || error.code === 'EPIPE'
}

function closedHere(): MeshError {
  return new MeshError('ERR_MESH_STOPPED', 'this connection to the peer was closed')
}

function unreadable(why: string, cause?: unknown): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', `the peer's answer cannot be read: ${why}`, { cause })
}

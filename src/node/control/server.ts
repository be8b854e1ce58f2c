import { once } from 'node:events'
import { chmod, lstat, mkdir, rm, stat } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createConnection, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { MeshError } from '../../base/errors.ts'
import type { MeshBackend } from '../types.ts'
import { Gate } from './gate.ts'
import { CLOSE_GRACE_MS, MAX_CONNECTIONS, MAX_UPLOADS_AT_ONCE } from './limits.ts'
import { route, sendJson } from './routes.ts'
import { isShared, socketPathFor } from './socket-path.ts'
import { HttpError, statusOf, toWire } from './wire-error.ts'

export { socketPathFor } from './socket-path.ts'

export interface ControlOptions {
  readonly dataDir: string
  /**
   * Stops the peer; called once the caller of `leave` has an answer. With a promise, that caller waits until it settles, and so knows that
   * the peer is gone; without, until the server closes.
   */
  readonly onLeave: () => void | Promise<void>
}

export interface ControlServer {
  /** Path of the socket (a named pipe on Windows). */
  readonly path: string
  /** Ends what is being served, and removes the socket. Never rejects. */
  close(): Promise<void>
}

/**
 * Serves a peer to commands and programs of the same user: HTTP over a Unix socket of mode 0600. docs/control-socket.md has the end points.
 * @throws ERR_MESH_FOLDER_LOCKED when another process serves the same folder
 */
export async function serveControl(
  backend: MeshBackend,
  options: ControlOptions,
): Promise<ControlServer> {
  const path = socketPathFor(options.dataDir)
  if (process.platform !== 'win32') await makeWay(path, options.dataDir)
  const served = new Served(backend, options.onLeave)
  try {
    await listen(served.server, path)
  } catch (cause) {
    throw new MeshError('ERR_MESH_FOLDER_LOCKED', `the control socket ${path} cannot be opened`, {
      cause,
      details: { path },
    })
  }
  return { path, close: () => served.close() }
}

/** A server with what it must end when it closes. */
class Served {
  readonly server: Server
  private readonly backend: MeshBackend
  private readonly onLeave: () => void | Promise<void>
  private readonly uploads = new Gate(MAX_UPLOADS_AT_ONCE)
  private readonly closing = new AbortController()
  private readonly sockets = new Set<Socket>()
  /** Sockets of callers of `leave`: they outlive the server, to tell them that the peer is gone. */
  private readonly leaving = new Set<Socket>()
  private readonly active = new Set<Promise<void>>()
  private left = false
  private closed: Promise<void> | undefined

  constructor(backend: MeshBackend, onLeave: () => void | Promise<void>) {
    this.backend = backend
    this.onLeave = onLeave
    // Idle connections stay: a client that reuses one must not meet its end.
    this.server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
      const done = this.answer(request, response)
      this.active.add(done)
      void done.finally(() => this.active.delete(done))
    })
    this.server.maxConnections = MAX_CONNECTIONS
    this.server.on('connection', (socket: Socket) => {
      this.sockets.add(socket)
      socket.on('close', () => this.sockets.delete(socket))
    })
    this.server.on('clientError', refuseGarbage)
  }

  close(): Promise<void> {
    this.closed ??= this.shutDown()
    return this.closed
  }

  private async shutDown(): Promise<void> {
    // Closing the handle removes the socket's file, so that newcomers see at once that nobody is here.
    this.server.close()
    this.closing.abort()
    const grace = new AbortController()
    const timer = setTimeout(() => grace.abort(), CLOSE_GRACE_MS)
    const over = once(grace.signal, 'abort')
    await Promise.race([Promise.all(this.active), over])
    const sockets = [...this.sockets].filter((socket) => !this.leaving.has(socket))
    const closed = sockets.map((socket) => new Promise((resolve) => socket.on('close', resolve)))
    // What was answered still goes out, to those who read.
    for (const socket of sockets) socket.destroySoon()
    await Promise.race([Promise.all(closed), over])
    clearTimeout(timer)
    for (const socket of sockets) socket.destroy()
    await Promise.all(closed)
  }

  /** Never rejects: whatever a caller sends, the peer goes on. */
  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    try {
      const { pathname, searchParams } = parseUrl(request.url ?? '')
      const exchange = {
        backend: this.backend,
        uploads: this.uploads,
        request,
        response,
        query: searchParams,
        signal: AbortSignal.any([gone.signal, this.closing.signal]),
        leave: () => this.leave(response),
      }
      await route(exchange, pathname)
    } catch (error) {
      if (response.headersSent) response.destroy()
      else sendJson(response, statusOf(error), toWire(error), headersOf(error))
    }
  }

  private leave(response: ServerResponse): void {
    const { socket } = response
    if (socket !== null) {
      this.leaving.add(socket)
      // Waiting to tell of the end must not put it off.
      socket.unref()
    }
    response.writeHead(202, { 'content-type': 'application/json', connection: 'close' })
    response.write('{"leaving":true}\n', () => {
      const gone = (this.left ? this.closed : this.stopPeer()) ?? this.whenClosing()
      void gone.catch(() => undefined).then(() => response.end())
    })
  }

  private async whenClosing(): Promise<void> {
    if (!this.closing.signal.aborted) await once(this.closing.signal, 'abort')
  }

  private stopPeer(): Promise<void> | undefined {
    this.left = true
    try {
      return this.onLeave() ?? undefined
    } catch {
      // The peer answers for its own stop.
      return undefined
    }
  }
}

function parseUrl(url: string): URL {
  try {
    return new URL(url, 'http://mesh')
  } catch {
    throw new HttpError(400, 'ERR_MESH_PROTOCOL', 'the path cannot be read')
  }
}

function headersOf(error: unknown): Readonly<Record<string, string>> {
  return error instanceof HttpError ? error.headers : {}
}

/** What is no HTTP gets an answer all the same, and no more of our time. */
function refuseGarbage(error: NodeJS.ErrnoException, socket: import('node:stream').Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request'
  const wire = toWire(new MeshError('ERR_MESH_PROTOCOL', 'this is no HTTP request'))
  const body = `${JSON.stringify(wire)}\n`
  socket.end(
    `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

async function listen(server: Server, path: string): Promise<void> {
  const restore = narrowUmask()
  try {
    // The socket is bound within this call, so that it never exists with another mode.
    server.listen({ path, backlog: MAX_CONNECTIONS })
  } finally {
    restore()
  }
  await once(server, 'listening')
  if (process.platform !== 'win32') await chmod(path, 0o600)
}

/** Worker threads have no umask of their own: there, the chmod after must do. */
function narrowUmask(): () => void {
  try {
    const before = process.umask(0o177)
    return () => void process.umask(before)
  } catch {
    return () => undefined
  }
}

/** Makes the socket's folder where it is ours to make, and removes what a dead process left. */
async function makeWay(path: string, dataDir: string): Promise<void> {
  const folder = dirname(path)
  if (isShared(path, dataDir)) {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await assertOurs(folder)
  }
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined) return
  if (!found.isSocket()) {
    throw inTheWay(path, 'is in the way of the control socket: move it away')
  }
  if (await isServed(path)) throw inTheWay(path, 'is served by another process')
  await rm(path, { force: true })
}

/** Anyone may make a folder in the temporary one: take only our own, closed to others. */
async function assertOurs(folder: string): Promise<void> {
  const found = await lstat(folder)
  const uid = process.getuid?.()
  if (!found.isDirectory() || (uid !== undefined && found.uid !== uid)) {
    throw inTheWay(folder, 'belongs to another user: set TMPDIR, or use a shorter data folder')
  }
  if (((await stat(folder)).mode & 0o077) !== 0) await chmod(folder, 0o700)
}

async function isServed(path: string): Promise<boolean> {
  const socket = createConnection(path)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

function inTheWay(path: string, what: string): MeshError {
  return new MeshError('ERR_MESH_FOLDER_LOCKED', `${path} ${what}`, { details: { path } })
}

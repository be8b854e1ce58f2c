import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** One connection through a proxy: the two sockets, and what was held back while it was frozen. */
interface Pair {
  readonly client: Socket
  upstream: Socket | undefined
  frozen: boolean
}

export type PairFilter = (clientPort: number) => boolean | Promise<boolean>

/**
 * A TCP proxy on loopback in front of one listener. It can freeze what goes through it (no byte moves and nobody is told: a
 * pulled cable; what was sent arrives after the thaw, as TCP would send it again), reset it, and close its own port.
 */
export class TcpProxy {
  readonly port: number
  private readonly server: Server
  private readonly target: number
  private readonly pairs = new Set<Pair>()
  private frozen: PairFilter | undefined
  /** Added to each way, ms. */
  delayMs = 0

  private constructor(server: Server, target: number) {
    this.server = server
    this.target = target
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (client) => void this.take(client))
  }

  /** @param target the port on 127.0.0.1 that it stands for */
  static async create(target: number): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
    await listen(server, 0)
    return new TcpProxy(server, target)
  }

  get connections(): number {
    return this.pairs.size
  }

  /** Freezes the connections that `filter` says (by the port that they come from), also those that come later. */
  async freeze(filter: PairFilter = () => true): Promise<void> {
    this.frozen = filter
    for (const pair of this.pairs) {
      pair.frozen = await filter(portOf(pair))
      if (pair.frozen) pause(pair)
    }
  }

  /** @param what 'new': what stood when it froze is dead for good, only new connections go through */
  thaw(what: 'all' | 'new' = 'all'): void {
    this.frozen = undefined
    for (const pair of this.pairs) {
      if (!pair.frozen || (what === 'new' && pair.upstream !== undefined)) continue
      pair.frozen = false
      if (pair.upstream === undefined) this.join(pair)
      else resume(pair)
    }
  }

  /** Both ends of each connection learn of it at once. */
  reset(): void {
    for (const pair of [...this.pairs]) this.drop(pair)
  }

  /** Nobody listens any more, as after the death of the process behind: new connections are refused. */
  async down(): Promise<void> {
    // The port is free at once; what `close` would wait for is reset.
    if (this.server.listening) this.server.close()
    this.reset()
  }

  async up(): Promise<void> {
    if (!this.server.listening) await listen(this.server, this.port)
  }

  async close(): Promise<void> {
    await this.down()
  }

  private async take(client: Socket): Promise<void> {
    const pair: Pair = { client, upstream: undefined, frozen: true }
    this.pairs.add(pair)
    client.on('error', () => undefined)
    client.once('close', () => this.drop(pair))
    pair.frozen = (await this.frozen?.(portOf(pair))) ?? false
    if (!pair.frozen && this.pairs.has(pair)) this.join(pair)
  }

  private join(pair: Pair): void {
    const { client } = pair
    const upstream = connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true })
    pair.upstream = upstream
    upstream.on('error', () => undefined)
    upstream.once('close', () => this.drop(pair))
    this.pump(pair, client, upstream)
    this.pump(pair, upstream, client)
    if (!pair.frozen) resume(pair)
  }

  private pump(pair: Pair, from: Socket, to: Socket): void {
    from.on('data', (bytes) => {
      const write = (): void => {
        if (to.destroyed) return
        if (!to.write(bytes)) from.pause()
      }
      if (this.delayMs > 0) setTimeout(write, this.delayMs)
      else write()
    })
    to.on('drain', () => {
      if (!pair.frozen) from.resume()
    })
    from.on('end', () => to.end())
  }

  private drop(pair: Pair): void {
    if (!this.pairs.delete(pair)) return
    for (const socket of [pair.client, pair.upstream]) {
      if (socket === undefined || socket.destroyed) continue
      socket.resetAndDestroy()
    }
  }
}

function portOf(pair: Pair): number {
  return pair.client.remotePort ?? 0
}

function pause(pair: Pair): void {
  pair.client.pause()
  pair.upstream?.pause()
}

function resume(pair: Pair): void {
  pair.client.resume()
  pair.upstream?.resume()
}

async function listen(server: Server, port: number): Promise<void> {
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
}

/** A port of loopback that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await listen(server, 0)
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

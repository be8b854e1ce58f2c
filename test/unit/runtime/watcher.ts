/** Tells when processes end: each connects here, and the system closes its connection with it. */
import { createServer, type Server, type Socket } from 'node:net'

export interface Watched {
  readonly pid: number
  readonly ended: Promise<void>
}

export class Watcher {
  port = 0
  private readonly server: Server
  private readonly arrived: Watched[] = []
  private readonly waiting: ((watched: Watched) => void)[] = []
  private readonly sockets = new Set<Socket>()

  constructor() {
    this.server = createServer((socket) => {
      this.sockets.add(socket)
      const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()))
      socket.on('error', () => {})
      socket.once('data', (bytes) => {
        const watched = { pid: Number(bytes.toString()), ended }
        const waiter = this.waiting.shift()
        if (waiter !== undefined) waiter(watched)
        else this.arrived.push(watched)
      })
    })
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    this.port = (this.server.address() as { port: number }).port
    return this
  }

  /** The next process that connects, in order of arrival. */
  next(): Promise<Watched> {
    const watched = this.arrived.shift()
    if (watched !== undefined) return Promise.resolve(watched)
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  /** Statements of an async function that connect the process that runs them. */
  get connect(): string {
    return `await new Promise((resolve) => {
      import("node:net").then((net) => {
        const socket = net.connect(${this.port}, "127.0.0.1", () => socket.write(String(process.pid), resolve));
        socket.on("error", () => {});
        socket.unref();
      })
    });`
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }
}

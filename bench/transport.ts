/**
 * Two peers on loopback, each in a process of its own: round trips, messages, blobs, and what an idle peer costs.
 * `npm run build && node dist/bench/transport.js [idleSeconds]`
 */
import { fork } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createTransport } from '../src/node/transport/libp2p-transport.ts'
import type { Transport, TransportEvents } from '../src/node/transport/types.ts'
import type { BlobHash, PeerId } from '../src/scheduler/types.ts'

const MIB = 1024 * 1024
const IN_FLIGHT = 64

interface Handlers {
  onMessage?: (from: PeerId, bytes: Uint8Array) => void
}

async function peer(meshKey: Uint8Array, handlers: Handlers): Promise<Transport> {
  const held = new Map<BlobHash, Uint8Array>()
  const events: TransportEvents = {
    onPeerConnected: () => undefined,
    onPeerDisconnected: () => undefined,
    onMessage: (from, bytes) => {
      handlers.onMessage?.(from, bytes)
      return true
    },
    onGossip: () => true,
    onBlobRequested: async (_from, hash) => {
      const sizeBytes = Number.parseInt(hash.slice(0, 16), 16)
      if (!held.has(hash)) held.set(hash, new Uint8Array(randomBytes(sizeBytes)))
      return { sizeBytes, source: pieces(held.get(hash)!) }
    },
    onBlobOffered: async (_from, _hash, sizeBytes, source) => {
      let taken = 0
      for await (const bytes of source) taken += bytes.length
      return taken === sizeBytes
    },
  }
  return createTransport({
    privateKey: new Uint8Array(randomBytes(32)),
    meshKey,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    bootstrap: [],
    mdns: false,
    events,
  })
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 256 * 1024) yield bytes.subarray(at, at + 256 * 1024)
}

function report(what: string, value: number, unit: string): void {
  console.log(`${what.padEnd(46)} ${value.toFixed(value < 10 ? 2 : 0).padStart(9)} ${unit}`)
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}

/** The other process: answers each message with itself. */
async function echo(meshKeyHex: string): Promise<void> {
  const handlers: Handlers = {}
  const transport = await peer(new Uint8Array(Buffer.from(meshKeyHex, 'hex')), handlers)
  handlers.onMessage = (from, bytes) => void transport.send(from, bytes)
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    process.send?.({ cpuMs: (user + system) / 1000, rssBytes: process.memoryUsage.rss() })
  })
  process.on('disconnect', () => void transport.stop().then(() => process.exit(0)))
  process.send?.({ address: transport.addresses()[0] })
}

async function roundTrips(transport: Transport, to: PeerId, handlers: Handlers): Promise<void> {
  for (const [inFlight, count] of [
    [1, 5_000],
    [IN_FLIGHT, 200_000],
  ] as const) {
    const message = new Uint8Array(100)
    const seconds = await timed(
      () =>
        new Promise<void>((resolve) => {
          let sent = 0
          let received = 0
          handlers.onMessage = () => {
            received += 1
            if (received === count) resolve()
            else if (sent < count) {
              sent += 1
              transport.send(to, message)
            }
          }
          for (; sent < inFlight; sent++) transport.send(to, message)
        }),
    )
    report(`round trips of 100 B, ${inFlight} in flight`, count / seconds, '/s')
  }
}

async function bulkMessages(transport: Transport, to: PeerId, handlers: Handlers): Promise<void> {
  const message = new Uint8Array(randomBytes(MIB))
  const count = 200
  const seconds = await timed(
    () =>
      new Promise<void>((resolve) => {
        let sent = 0
        let received = 0
        handlers.onMessage = () => {
          received += 1
          if (received === count) resolve()
          else if (sent++ < count) transport.send(to, message)
        }
        for (; sent < 8; sent++) transport.send(to, message)
      }),
  )
  report('1-MiB messages, there and back', (count * 2 * 1.048576) / seconds, 'MB/s')
}

function hashFor(sizeBytes: number): BlobHash {
  const size = sizeBytes.toString(16).padStart(16, '0')
  const rest = createHash('sha256').update(size).digest('hex')
  return (size + rest.slice(16)) as BlobHash
}

async function blobs(transport: Transport, to: PeerId): Promise<void> {
  for (const [sizeBytes, count, parallel] of [
    [2048, 1_000, 1],
    [2048, 4_000, 16],
    [MIB, 200, 1],
    [MIB, 400, 8],
    [32 * MIB, 10, 1],
  ] as const) {
    const bytes = new Uint8Array(randomBytes(sizeBytes))
    const hash = hashFor(sizeBytes)
    const offer = () => transport.offerBlob(to, hash, sizeBytes, pieces(bytes))
    const fetch = async () => {
      const found = await transport.fetchBlob(to, hash)
      for await (const piece of found!.source) void piece
    }
    for (const [name, one] of [
      ['offers', offer],
      ['fetches', fetch],
    ] as const) {
      for (let i = 0; i < 10; i++) await one()
      const seconds = await timed(async () => {
        let left = count
        const lane = async (): Promise<void> => {
          while (left-- > 0) await one()
        }
        await Promise.all(Array.from({ length: parallel }, lane))
      })
      const what = `${name} of ${sizeBytes < MIB ? '2 KB' : `${sizeBytes / MIB} MiB`}, ${parallel} at once`
      if (sizeBytes < MIB) report(what, (seconds * 1000 * parallel) / count, 'ms each')
      else report(what, (count * sizeBytes) / 1e6 / seconds, 'MB/s')
    }
  }
}

async function main(idleSeconds: number): Promise<void> {
  const meshKey = new Uint8Array(randomBytes(32))
  const child = fork(fileURLToPath(import.meta.url), ['echo', Buffer.from(meshKey).toString('hex')])
  const [{ address }] = (await once(child, 'message')) as [{ address: string }]
  const handlers: Handlers = {}
  const started = performance.now()
  const transport = await peer(meshKey, handlers)
  report('start', performance.now() - started, 'ms')
  const dialled = performance.now()
  const other = await transport.dial(address)
  report('dial, until messages can be sent', performance.now() - dialled, 'ms')
  if (idleSeconds > 0) {
    const ask = async (): Promise<{ cpuMs: number; rssBytes: number }> => {
      child.send('usage')
      return ((await once(child, 'message')) as [{ cpuMs: number; rssBytes: number }])[0]
    }
    const before = await ask()
    await new Promise((resolve) => setTimeout(resolve, idleSeconds * 1000))
    const after = await ask()
    report(
      `idle for ${idleSeconds} s: CPU`,
      (after.cpuMs - before.cpuMs) / idleSeconds / 10,
      '% of a core',
    )
    report('idle: resident', after.rssBytes / 1e6, 'MB')
  }
  await roundTrips(transport, other, handlers)
  await bulkMessages(transport, other, handlers)
  await blobs(transport, other)
  report('resident at the end', process.memoryUsage.rss() / 1e6, 'MB')
  const gone = once(child, 'exit')
  child.disconnect()
  await gone
  await transport.stop()
}

const [role, argument] = process.argv.slice(2)
if (role === 'echo') await echo(argument!)
else await main(Number(role ?? 30))

import { randomBytes, createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import { createTransport } from '../../src/node/transport/libp2p-transport.ts'
import { decodeTicket, encodeTicket } from '../../src/node/wire/ticket.ts'
import type { BlobHash } from '../../src/scheduler/types.ts'

const key = new Uint8Array(randomBytes(32))
const blobs = new Map<string, Uint8Array>()
async function make(meshKey = key) {
  const log: any[] = []
  const waits: any = {}
  const t = await createTransport({
    privateKey: new Uint8Array(randomBytes(32)), meshKey, listen: ['/ip4/127.0.0.1/tcp/0'], bootstrap: [], mdns: false,
    events: {
      onPeerConnected: (p) => { log.push(['up', p]); waits.up?.(p) },
      onPeerDisconnected: (p, r) => { log.push(['down', p, r]); waits.down?.([p, r]) },
      onMessage: (_f, b) => { log.push(['msg', b]); waits.msg?.(b); return true },
      onGossip: (topic, b) => { log.push(['gossip', topic, b]); waits.gossip?.(b); return true },
      onBlobRequested: async (_f, h) => { const b = blobs.get(h); return b && { sizeBytes: b.length, source: (async function* () { yield b })() } },
      onBlobOffered: async (_f, h, _s, src) => { const parts = []; for await (const c of src) parts.push(c); const b = Buffer.concat(parts); blobs.set(h, b); return createHash('sha256').update(b).digest('hex') === h },
    },
  })
  return { t, log, waits, next: (k: string) => new Promise<any>((r) => { waits[k] = r }) }
}
it('works', async () => {
  const a = await make(); const b = await make()
  const up = a.next('up'); const ub = b.next('up')
  let s = performance.now()
  await b.t.dial(a.t.addresses()[0]!)
  await up; await ub
  console.log('connect ms', performance.now() - s)
  s = performance.now()
  for (let i = 0; i < 1000; i++) { const m = b.next('msg'); a.t.send(b.t.self, new Uint8Array(100)); await m }
  console.log('oneway+', (performance.now() - s) / 1000, 'ms')
  { const node = (a.t as any).node; const conn = node.getConnections()[0];
    for (let k = 0; k < 3; k++) { let s = performance.now(); for (let i = 0; i < 20; i++) { const st = await conn.newStream('/meshwork/1/blob'); st.abort(new Error('x')) } console.log('newStream', (performance.now() - s) / 20)
    s = performance.now(); for (let i = 0; i < 20; i++) { const st = await conn.newStream('/meshwork/1/blob', { negotiateFully: false }); st.abort(new Error('x')) } console.log('newStream early', (performance.now() - s) / 20) }
    }
  for (const size of [2000, 1 << 20, 4 << 20]) {
    const data = randomBytes(size); const h = createHash('sha256').update(data).digest('hex') as BlobHash
    s = performance.now()
    for (let i = 0; i < 20; i++) expect(await a.t.offerBlob(b.t.self, h, size, (async function* () { yield data })())).toBe(true)
    const ms = (performance.now() - s) / 20
    console.log('offer', size, ms.toFixed(2), 'ms', (size / 1e3 / ms).toFixed(0), 'MB/s')
    s = performance.now()
    for (let i = 0; i < 20; i++) { const f = await a.t.fetchBlob(b.t.self, h); const parts = []; for await (const c of f!.source) parts.push(c); expect(Buffer.concat(parts).equals(data)).toBe(true) }
    console.log('fetch', size, ((performance.now() - s) / 20).toFixed(2))
  }
  expect(await a.t.fetchBlob(b.t.self, '00'.repeat(32) as BlobHash)).toBe(undefined)
  await new Promise(r => setTimeout(r, 1500))
  const g = b.next('gossip'); a.t.publish('adverts', new Uint8Array([1, 2, 3])); await g
  const other = await make(new Uint8Array(randomBytes(32)))
  await expect(other.t.dial(a.t.addresses()[0]!)).rejects.toMatchObject({ code: 'ERR_MESH_TICKET_REFUSED' })
  const addr = a.t.addresses()[0]!
  const tk = encodeTicket({ meshKey: key, addresses: a.t.addresses() }); console.log(tk); expect(decodeTicket(tk)).toEqual({ meshKey: key, addresses: a.t.addresses() })
  await expect(createTransport({ privateKey: new Uint8Array(randomBytes(32)), meshKey: key, listen: [addr.replace(/\/p2p.*/, '')], bootstrap: [], mdns: false, events: {} as any })).rejects.toMatchObject({ code: 'ERR_MESH_PORT_IN_USE' })
  const down = b.next('down')
  s = performance.now()
  await a.t.stop()
  console.log('down', await down, performance.now() - s)
  await expect(other.t.dial(addr)).rejects.toMatchObject({ code: 'ERR_MESH_UNREACHABLE' })
  await b.t.stop(); await other.t.stop()
})

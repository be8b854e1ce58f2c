// A peer in a process of its own: node child-peer.mjs TRANSPORT_URL MESH_KEY [BOOTSTRAP]... Prints its address.
import { randomBytes } from 'node:crypto'

const [, , url, key, ...bootstrap] = process.argv
const { createTransport } = await import(url)
const transport = await createTransport({
  privateKey: randomBytes(32),
  meshKey: Buffer.from(key, 'hex'),
  listen: ['/ip4/127.0.0.1/tcp/0'],
  bootstrap,
  mdns: false,
  events: {
    onPeerConnected() {},
    onPeerDisconnected() {},
    onMessage: () => true,
    onGossip: () => true,
    onBlobRequested: async () => undefined,
    onBlobOffered: async () => false,
  },
})
process.stdout.write(`${transport.addresses()[0]}\n`)

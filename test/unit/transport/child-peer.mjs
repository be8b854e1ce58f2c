// A peer in a process of its own: node child-peer.mjs TRANSPORT_URL MESH_KEY SEED PORT [BOOTSTRAP]... Prints its address.
// Ends with its standard input: whoever started it may be killed without ending it, and it would keep the pipes it inherited open.

process.stdin.on('end', () => process.exit()).resume()
const [, , url, key, seed, port, ...bootstrap] = process.argv
const { createTransport } = await import(url)
const transport = await createTransport({
  privateKey: Buffer.from(seed, 'hex'),
  meshKey: Buffer.from(key, 'hex'),
  listen: [`/ip4/127.0.0.1/tcp/${port}`],
  bootstrap,
  mdns: false,
  events: {
    onPeerConnected() {},
    onPeerDisconnected() {},
    // What it hears it says back.
    onMessage: (from, bytes) => transport.send(from, bytes) || true,
    onGossip: () => true,
    onBlobRequested: async () => undefined,
    onBlobOffered: async () => false,
  },
})
process.stdout.write(`${transport.addresses()[0]}\n`)

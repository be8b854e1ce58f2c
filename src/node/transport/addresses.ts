import { peerIdFromString } from '@libp2p/peer-id'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { MeshError } from '../../base/errors.ts'
import type { PeerId } from '../../scheduler/types.ts'
import { peerOf } from './ids.ts'

/** A multiaddr that can be dialled, and whose it is, if it says so. */
export interface DialAddress {
  readonly multiaddr: Multiaddr
  readonly text: string
  readonly peer: PeerId | undefined
}

const HOSTS = new Set(['ip4', 'ip6', 'dns', 'dns4', 'dns6'])

/** ERR_MESH_ADDRESS_INVALID unless it is `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT[/p2p/PEER]`. */
export function parseDialAddress(address: string): DialAddress {
  const { parsed, names } = parse(address)
  const [host, transport, p2p, more] = names
  if (!HOSTS.has(host ?? '') || transport !== 'tcp' || (p2p ?? 'p2p') !== 'p2p' || more) {
    throw invalid(address, 'it must be of the form /ip4/192.0.2.1/tcp/4001 or …/p2p/PEER')
  }
  const id = parsed.getComponents().find((component) => component.name === 'p2p')?.value
  if (id === undefined) return { multiaddr: parsed, text: address, peer: undefined }
  let peer: PeerId | undefined
  try {
    peer = peerOf(peerIdFromString(id))
  } catch (cause) {
    throw invalid(address, 'what follows /p2p is no peer id', cause)
  }
  if (peer === undefined) throw invalid(address, 'what follows /p2p is no Ed25519 peer id')
  return { multiaddr: parsed, text: address, peer }
}

/** ERR_MESH_ADDRESS_INVALID unless it is `/ip4|ip6/HOST/tcp/PORT`. */
export function checkListenAddress(address: string): void {
  const { names } = parse(address)
  if ((names[0] !== 'ip4' && names[0] !== 'ip6') || names[1] !== 'tcp' || names.length > 2) {
    throw invalid(address, 'a listening address is of the form /ip4/0.0.0.0/tcp/4001')
  }
}

/** ERR_MESH_ADDRESS_INVALID unless it is `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT`, of a port that can be dialled. */
export function checkAnnouncedAddress(address: string): void {
  const { peer } = parseDialAddress(address)
  if (peer !== undefined || /\/tcp\/0$/.test(address)) {
    throw invalid(address, 'an announced address is of the form /ip4/203.0.113.1/tcp/4001')
  }
}

/** Addresses that others reach best first: public, private, those of container bridges, loopback. */
export function byUsefulness(a: string, b: string): number {
  return rank(a) - rank(b)
}

export function isLoopbackAddress(address: string): boolean {
  return /^\/ip4\/127\.|^\/ip6\/::1\//.test(address)
}

/** No zone, so nobody else can dial it. */
export function isLinkLocal(address: string): boolean {
  return /^\/ip6\/fe80:/i.test(address)
}

/** Host and port of an address, as node:net wants them. */
export function hostAndPort(address: string): { host: string; port: number } | undefined {
  const match = /^\/(?:ip[46]|dns[46]?)\/([^/]+)\/tcp\/(\d+)/.exec(address)
  return match === null ? undefined : { host: match[1]!, port: Number(match[2]) }
}

function rank(address: string): number {
  if (isLoopbackAddress(address)) return 4
  if (/^\/ip4\/172\.1[7-9]\.0\./.test(address)) return 3
  if (/^\/ip4\/(10|192\.168|172\.(1[6-9]|2\d|3[01]))\./.test(address)) return 1
  return address.startsWith('/ip6/') ? 2 : 0
}

/** No address is longer: a host's name of 253 characters and a peer id. To read a peer id takes the square of its length. */
const MAX_ADDRESS_CHARS = 512

function parse(address: string): { parsed: Multiaddr; names: string[] } {
  if (address.length > MAX_ADDRESS_CHARS) {
    throw invalid(`${address.slice(0, 60)}…`, `it has more than ${MAX_ADDRESS_CHARS} characters`)
  }
  try {
    const parsed = multiaddr(address)
    return { parsed, names: parsed.getComponents().map((component) => component.name) }
  } catch (cause) {
    throw invalid(address, 'it is no multiaddr, such as /ip4/192.0.2.1/tcp/4001', cause)
  }
}

function invalid(address: string, why: string, cause?: unknown): MeshError {
  return new MeshError('ERR_MESH_ADDRESS_INVALID', `cannot use the address ${address}: ${why}`, {
    cause,
    details: { address },
  })
}

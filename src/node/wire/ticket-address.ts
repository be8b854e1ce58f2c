/** The addresses of a ticket, packed: 7 bytes for an IPv4 one, and the peer's key once. */
import { isIPv4, isIPv6 } from 'node:net'
import { peerIdKey, peerIdText } from './base58.ts'
import { MAX_ADDRESS_BYTES } from './limits.ts'

export interface TicketAddress {
  readonly protocol: string
  readonly host: string
  readonly port: number
  /** Raw public key; absent: whoever answers. */
  readonly peer?: Uint8Array
}

const HOST_IP4 = 4
const HOST_IP6 = 6
const HOST_NAME = 1
const PEER_NONE = 0
const PEER_GIVEN = 1
const PEER_SAME = 2
const NAMES = ['dns', 'dns4', 'dns6']

/** The parts of `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT[/p2p/PEER]`; undefined for any other form. */
export function parseTicketAddress(address: string): TicketAddress | undefined {
  const [empty, protocol = '', host = '', tcp, digits = '', p2p, id, ...rest] = address.split('/')
  if (empty !== '' || tcp !== 'tcp' || rest.length > 0 || !/^\d{1,5}$/.test(digits))
    return undefined
  if (Buffer.byteLength(address) > MAX_ADDRESS_BYTES) return undefined
  const port = Number(digits)
  const known =
    protocol === 'ip4'
      ? isIPv4(host)
      : protocol === 'ip6'
        ? isIPv6(host) && !host.includes('%')
        : NAMES.includes(protocol) && /^[\w.-]{1,200}$/.test(host)
  if (!known || port === 0 || port > 0xffff) return undefined
  if (p2p === undefined) return { protocol, host, port }
  const peer = p2p === 'p2p' && id !== undefined ? peerIdKey(id) : undefined
  return peer && { protocol, host, port, peer }
}

export function formatTicketAddress({ protocol, host, port, peer }: TicketAddress): string {
  const address = `/${protocol}/${host}/tcp/${port}`
  return peer === undefined ? address : `${address}/p2p/${peerIdText(peer)}`
}

export function isLoopback({ protocol, host }: TicketAddress): boolean {
  return protocol === 'ip4'
    ? host.startsWith('127.')
    : protocol === 'ip6' &&
        packIp6(host)[15] === 1 &&
        packIp6(host)
          .subarray(0, 15)
          .every((byte) => byte === 0)
}

export function packAddresses(addresses: readonly TicketAddress[]): Uint8Array {
  const parts: Uint8Array[] = []
  let before: Uint8Array | undefined
  for (const { protocol, host, port, peer } of addresses) {
    if (protocol === 'ip4') parts.push(Uint8Array.of(HOST_IP4, ...host.split('.').map(Number)))
    else if (protocol === 'ip6') parts.push(Uint8Array.of(HOST_IP6), packIp6(host))
    else {
      const name = Buffer.from(`${protocol}/${host}`)
      parts.push(Uint8Array.of(HOST_NAME, name.length), name)
    }
    parts.push(Uint8Array.of(port >> 8, port & 0xff))
    if (peer === undefined) parts.push(Uint8Array.of(PEER_NONE))
    else if (before !== undefined && Buffer.compare(before, peer) === 0)
      parts.push(Uint8Array.of(PEER_SAME))
    else parts.push(Uint8Array.of(PEER_GIVEN), peer)
    before = peer ?? before
  }
  return Buffer.concat(parts)
}

/** undefined when the bytes are not what packAddresses writes. */
export function unpackAddresses(bytes: Uint8Array): TicketAddress[] | undefined {
  const buffer = Buffer.from(bytes)
  const addresses: TicketAddress[] = []
  let at = 0
  let before: Uint8Array | undefined
  const take = (count: number): Buffer => buffer.subarray(at, (at += count))
  while (at < buffer.length) {
    const kind = buffer[at++]
    let protocol = 'ip4'
    let host: string
    if (kind === HOST_IP4) host = take(4).join('.')
    else if (kind === HOST_IP6) {
      protocol = 'ip6'
      host = unpackIp6(take(16))
    } else if (kind === HOST_NAME) {
      ;[protocol = '', host = ''] = take(buffer[at++] ?? 0)
        .toString()
        .split('/')
    } else return undefined
    const [high = 0, low = 0, which] = take(3)
    if (which === PEER_GIVEN) before = new Uint8Array(take(32))
    const peer = which === PEER_NONE ? undefined : before
    if (at > buffer.length || (which !== PEER_NONE && peer?.length !== 32)) return undefined
    const address = { protocol, host, port: high * 256 + low, ...(peer && { peer }) }
    if (parseTicketAddress(formatTicketAddress(address)) === undefined) return undefined
    addresses.push(address)
  }
  return addresses
}

function packIp6(host: string): Uint8Array {
  // The URL parser knows every way to write one, and gives the shortest.
  const [head = '', tail] = new URL(`http://[${host}]`).hostname.slice(1, -1).split('::')
  const groups = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16))
  const first = groups(head)
  const last = tail === undefined ? [] : groups(tail)
  const middle = new Array<number>(8 - first.length - last.length).fill(0)
  return Uint8Array.from([...first, ...middle, ...last].flatMap((n) => [n >> 8, n & 0xff]))
}

function unpackIp6(bytes: Buffer): string {
  if (bytes.length < 16) return ''
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16))
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

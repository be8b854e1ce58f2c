const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
/** A multihash of an Ed25519 key as libp2p writes it: identity, 36 bytes, a protobuf with the key's type and its 32 bytes. */
const ED25519_PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20)
/** Far above the 52 characters of a peer id: the conversion is quadratic. */
const MAX_CHARS = 128

/** A libp2p peer id (12D3KooW…) out of the raw Ed25519 public key that it stands for. */
export function peerIdText(key: Uint8Array): string {
  let number = BigInt(`0x${Buffer.concat([ED25519_PREFIX, key]).toString('hex')}`)
  let text = ''
  for (; number > 0n; number /= 58n) text = ALPHABET[Number(number % 58n)] + text
  return `1${text}`
}

/** The raw Ed25519 public key of a libp2p peer id; undefined when it is none. */
export function peerIdKey(text: string): Uint8Array | undefined {
  if (text.length > MAX_CHARS || !text.startsWith('1')) return undefined
  let number = 0n
  for (const character of text) {
    const digit = ALPHABET.indexOf(character)
    if (digit < 0) return undefined
    number = number * 58n + BigInt(digit)
  }
  const bytes = Buffer.from(number.toString(16).padStart(76, '0'), 'hex')
  if (bytes.length !== 38 || !bytes.subarray(0, 6).equals(ED25519_PREFIX)) return undefined
  const key = new Uint8Array(bytes.subarray(6))
  return peerIdText(key) === text ? key : undefined
}

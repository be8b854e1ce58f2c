import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import type { PeerId } from '../scheduler/types.ts'
import { MAX_CACHED_KEYS } from './limits.ts'

/** Whether `signature` is `author`'s Ed25519 signature of `hash` (32 raw bytes). Never throws. */
export type VerifyEnd = (author: PeerId, hash: Uint8Array, signature: Uint8Array) => boolean

/** Checks with node:crypto (16 k a second); keys are kept, the least recently used ones dropped. */
export function createVerifier(maxKeys: number = MAX_CACHED_KEYS): VerifyEnd {
  const keys = new Map<PeerId, KeyObject>()
  const keyOf = (author: PeerId): KeyObject => {
    const known = keys.get(author)
    keys.delete(author)
    const key = known ?? publicKeyOf(author)
    keys.set(author, key)
    if (keys.size > maxKeys) keys.delete(keys.keys().next().value!)
    return key
  }
  return (author, hash, signature) => {
    try {
      return verify(null, hash, keyOf(author), signature)
    } catch {
      return false
    }
  }
}

/** The public key that a peer id is. */
export function publicKeyOf(peer: PeerId): KeyObject {
  const x = Buffer.from(peer, 'hex').toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}

import { publicKeyFromRaw } from '@libp2p/crypto/keys'
import type { PeerId as LibP2PPeerId } from '@libp2p/interface'
import { peerIdFromPublicKey } from '@libp2p/peer-id'
import { fromHex, toHex } from '../../base/bytes.ts'
import type { PeerId } from '../../scheduler/types.ts'

/** Our name of a libp2p peer: the hex of its raw Ed25519 key; undefined for one with another kind of key. */
export function peerOf(id: LibP2PPeerId): PeerId | undefined {
  return id.type === 'Ed25519' ? (toHex(id.publicKey.raw) as PeerId) : undefined
}

/** libp2p's name of a peer. Throws when `peer` is not the hex of a public key. */
export function libp2pIdOf(peer: PeerId): LibP2PPeerId {
  return peerIdFromPublicKey(publicKeyFromRaw(fromHex(peer)))
}

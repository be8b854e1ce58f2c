import { publicKeyFromRaw } from '@libp2p/crypto/keys'
import type { PeerId as Libp2pPeerId } from '@libp2p/interface'
import { peerIdFromPublicKey } from '@libp2p/peer-id'
import { fromHex, toHex } from '../../base/bytes.ts'
import type { PeerId } from '../../scheduler/types.ts'

/** libp2p's id of a peer. */
export function toLibp2p(peer: PeerId): Libp2pPeerId {
  return peerIdFromPublicKey(publicKeyFromRaw(fromHex(peer)))
}

/** Our id of a peer: the hex of its raw Ed25519 public key; undefined for other kinds of key. */
export function fromLibp2p(peer: Libp2pPeerId): PeerId | undefined {
  return peer.type === 'Ed25519' ? (toHex(peer.publicKey.raw) as PeerId) : undefined
}

import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { toHex } from '../base/bytes.ts'
import type { PeerId, SessionId } from '../scheduler/types.ts'
import { readJsonFile, writeFileAtomic } from './atomic-file.ts'
import { damaged } from './fs-errors.ts'

export interface Identity {
  /** Raw Ed25519 seed, 32 bytes: the peer's secret. */
  readonly seed: Uint8Array
  readonly peer: PeerId
  /** Ed25519 signature (64 bytes) of 32 bytes. */
  readonly sign: (hash: Uint8Array) => Uint8Array
  /** Grows by one with each start, from 1: the newer session of a peer wins. */
  readonly sessionNumber: number
  /** Random: made at this start, never seen again. */
  readonly session: SessionId
}

interface IdentityFile {
  readonly seed: Uint8Array
  readonly sessionNumber: number
}

const ADVICE =
  'Put back a copy, or remove it: this machine is then a new peer, and another one finishes what it had begun.'

/**
 * Who this peer is: `<dir>/identity.json`, made at the first start, mode 0600. The session number is on the disk before this
 * resolves. The caller holds the folder's lock. ERR_MESH_STORE_DAMAGED, ERR_MESH_DISK_FULL.
 */
export async function loadOrCreateIdentity(dir: string): Promise<Identity> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const path = join(dir, 'identity.json')
  const before = (await readJsonFile(path, ADVICE, readIdentity)) ?? newIdentity()
  const { seed } = before
  if (before.sessionNumber >= Number.MAX_SAFE_INTEGER) {
    // No peer starts so often; one more and two sessions would have one number.
    throw damaged(path, 'its sessionNumber cannot be counted up any more', undefined, ADVICE)
  }
  const sessionNumber = before.sessionNumber + 1
  const file = { v: 1, seed: Buffer.from(seed).toString('base64'), sessionNumber }
  await writeFileAtomic(path, `${JSON.stringify(file)}\n`)
  const key = privateKeyOf(seed)
  return {
    seed,
    peer: peerIdOf(key),
    sign: (hash) => new Uint8Array(sign(null, hash, key)),
    sessionNumber,
    session: newSession(peerIdOf(key)),
  }
}

/** Half of a session's id is its peer's, so that nobody else can write under it; the other half is random. */
export function newSession(peer: PeerId): SessionId {
  return (peer.slice(0, SESSION_PEER_CHARS) + toHex(randomBytes(8))) as SessionId
}

/** Whether a session can be that peer's. */
export function isSessionOf(session: SessionId, peer: PeerId): boolean {
  return session.startsWith(peer.slice(0, SESSION_PEER_CHARS))
}

/** Hex characters of the peer's id that a session begins with: 8 bytes. */
const SESSION_PEER_CHARS = 16

/** The Ed25519 key of a raw 32-byte seed. */
export function privateKeyOf(seed: Uint8Array): KeyObject {
  // PKCS #8 of an Ed25519 key is this prefix and the seed (RFC 8410).
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
}

/** The peer id of a private key: the hex of its raw public key. */
export function peerIdOf(key: KeyObject): PeerId {
  const { x } = createPublicKey(key).export({ format: 'jwk' })
  return toHex(Buffer.from(x!, 'base64url')) as PeerId
}

function newIdentity(): IdentityFile {
  return { seed: new Uint8Array(randomBytes(32)), sessionNumber: 0 }
}

function readIdentity({
  v,
  seed,
  sessionNumber,
}: Record<string, unknown>): IdentityFile | undefined {
  if (v !== 1 || typeof seed !== 'string') return undefined
  if (typeof sessionNumber !== 'number' || !Number.isSafeInteger(sessionNumber)) return undefined
  const bytes = Buffer.from(seed, 'base64')
  if (bytes.length !== 32 || sessionNumber < 0) return undefined
  return { seed: new Uint8Array(bytes), sessionNumber }
}

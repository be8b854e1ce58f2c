import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex } from '../base/bytes.ts'
import { invariant } from '../base/errors.ts'
import { readJsonFile, writeFileAtomic } from './atomic-file.ts'
import { MAX_KNOWN_ADDRESSES } from './limits.ts'

/** Which mesh a data folder belongs to, and where members of it were last seen. */
export interface MeshFile {
  /** The mesh's key, 32 bytes: whoever has it is a member. */
  readonly key: Uint8Array
  /** First 16 hex characters of the key's SHA-256: names the mesh, tells nothing. */
  readonly id: string
  /** Multiaddrs of members, the most useful first. */
  readonly addresses: readonly string[]
}

const ADVICE = 'Put back a copy, or remove it and join again with a ticket (mesh join TICKET).'

export function createMeshKey(): Uint8Array {
  return new Uint8Array(randomBytes(32))
}

export function meshIdOf(key: Uint8Array): string {
  return sha256Hex(key).slice(0, 16)
}

/** `<dir>/mesh.json`; undefined when this folder is in no mesh yet. ERR_MESH_STORE_DAMAGED. */
export async function loadMesh(dir: string): Promise<MeshFile | undefined> {
  return readJsonFile(meshPath(dir), ADVICE, readMesh)
}

/** Replaces it as a whole, mode 0600; the first 64 addresses are kept. ERR_MESH_DISK_FULL. */
export async function saveMesh(
  dir: string,
  mesh: { readonly key: Uint8Array; readonly addresses: readonly string[] },
): Promise<MeshFile> {
  invariant(mesh.key.length === 32, 'a mesh key has 32 bytes')
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const addresses = [...new Set(mesh.addresses)].slice(0, MAX_KNOWN_ADDRESSES)
  const file = { v: 1, key: Buffer.from(mesh.key).toString('base64'), addresses }
  await writeFileAtomic(meshPath(dir), `${JSON.stringify(file, null, 2)}\n`)
  return { key: mesh.key, id: meshIdOf(mesh.key), addresses }
}

/** The folder is in no mesh any more. */
export async function removeMesh(dir: string): Promise<void> {
  await rm(meshPath(dir), { force: true })
}

function meshPath(dir: string): string {
  return join(dir, 'mesh.json')
}

function readMesh({ v, key, addresses }: Record<string, unknown>): MeshFile | undefined {
  if (v !== 1 || typeof key !== 'string' || !Array.isArray(addresses)) return undefined
  const bytes = new Uint8Array(Buffer.from(key, 'base64'))
  if (bytes.length !== 32) return undefined
  if (!addresses.every((address): address is string => typeof address === 'string'))
    return undefined
  return { key: bytes, id: meshIdOf(bytes), addresses }
}

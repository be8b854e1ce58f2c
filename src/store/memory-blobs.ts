import { concatBytes } from '../base/bytes.ts'
import { MeshError } from '../base/errors.ts'
import type { BlobHash } from '../scheduler/types.ts'
import { checkHash, hashOf, lost, pour } from './blobs.ts'
import { BLOB_READ_BYTES } from './limits.ts'
import type { BlobStore } from './types.ts'

/** Blobs in memory. They have no files: `path` throws ERR_MESH_UNSUPPORTED. */
export function createMemoryBlobs(): BlobStore {
  const blobs = new Map<BlobHash, Uint8Array>()
  const writtenAt = new Map<BlobHash, number>()
  const keep = (hash: BlobHash, bytes: Uint8Array): void => {
    blobs.set(hash, bytes)
    writtenAt.set(hash, performance.now())
  }
  const find = (hash: BlobHash): Uint8Array => {
    const bytes = blobs.get(checkHash(hash))
    if (bytes === undefined) throw lost(hash)
    return bytes
  }
  return {
    put: async (bytes) => {
      const hash = hashOf(bytes)
      keep(hash, blobs.get(hash) ?? Uint8Array.from(bytes))
      return { hash, sizeBytes: bytes.length }
    },
    write: async (source, expect) => {
      const parts: Uint8Array[] = []
      const facts = await pour(source, expect, async (part) => {
        parts.push(Uint8Array.from(part))
      })
      keep(facts.hash, parts.length === 0 ? new Uint8Array() : concatBytes(parts))
      return facts
    },
    has: (hash) => blobs.has(checkHash(hash)),
    size: async (hash) => blobs.get(checkHash(hash))?.length,
    path: (hash) => {
      throw new MeshError('ERR_MESH_UNSUPPORTED', `blob ${hash.slice(0, 8)} is in memory only`)
    },
    get: async (hash) => find(hash),
    read: async function* (hash) {
      const bytes = find(hash)
      for (let i = 0; i < bytes.length; i += BLOB_READ_BYTES) {
        yield bytes.subarray(i, i + BLOB_READ_BYTES)
      }
    },
    delete: async (hash) => {
      blobs.delete(checkHash(hash))
      writtenAt.delete(hash)
    },
    list: async function* () {
      const now = performance.now()
      for (const [hash, { length }] of [...blobs]) {
        yield { hash, sizeBytes: length, ageMs: now - writtenAt.get(hash)! }
      }
    },
  }
}

import { createHash, hash as digest, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, type Stats } from 'node:fs'
import {
  chmod,
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
} from 'node:fs/promises'
import { join } from 'node:path'
import { invariant, MeshError } from '../base/errors.ts'
import type { BlobHash } from '../scheduler/types.ts'
import { protocolError } from './cbor-reader.ts'
import { isMissing, writeError } from './fs-errors.ts'
import { BLOB_READ_BYTES, MAX_BLOB_BYTES, MAX_RECENT_BLOBS } from './limits.ts'
import type { BlobStore } from './types.ts'

const HASH = /^[0-9a-f]{64}$/

interface BlobFacts {
  readonly hash: BlobHash
  readonly sizeBytes: number
}

/** The blobs of a data folder, as `<dir>/blobs/ab/ab12…`; what an interrupted write left behind is removed. */
export async function openFileBlobs(dir: string): Promise<BlobStore> {
  await rm(temporaryFolder(dir), { recursive: true, force: true })
  return createFileBlobs(dir)
}

export function createFileBlobs(dir: string): BlobStore {
  const temporary = temporaryFolder(dir)
  mkdirSync(temporary, { recursive: true, mode: 0o700 })
  const folderOf = (hash: BlobHash): string => join(dir, 'blobs', checkHash(hash).slice(0, 2))
  const path = (hash: BlobHash): string => join(folderOf(hash), hash)
  const size = (hash: BlobHash): Promise<number | undefined> => sizeOf(path(hash))

  const recent = new RecentBlobs()
  /** Makes an old blob young again: who puts it is about to name it somewhere. False when it is gone meanwhile. */
  const touch = async (hash: BlobHash): Promise<boolean> => {
    try {
      await chmod(path(hash), 0o600)
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
    recent.note(hash)
    return true
  }

  /** The disk changed a blob: its name goes, so that it is had from elsewhere, and nobody is sent what is not it. */
  const drop = async (hash: BlobHash): Promise<MeshError> => {
    await rm(path(hash), { force: true })
    return lost(hash, 'its file was changed')
  }

  /** Fills a temporary file, then gives it its name: who sees a blob sees all of it. */
  const store = async (fill: (file: FileHandle) => Promise<BlobFacts>): Promise<BlobFacts> => {
    const name = join(temporary, randomBytes(12).toString('hex'))
    try {
      const facts = await withFile(name, fill)
      await mkdir(folderOf(facts.hash), { recursive: true, mode: 0o700 })
      // Two writers of one blob have the same bytes: the second name replaces the first.
      await rename(name, path(facts.hash))
      recent.note(facts.hash)
      return facts
    } catch (error) {
      await rm(name, { force: true })
      throw writeError(dir, error)
    }
  }

  return {
    put: async (bytes) => {
      const facts = { hash: hashOf(bytes), sizeBytes: bytes.length }
      if ((await size(facts.hash)) === facts.sizeBytes && (await touch(facts.hash))) return facts
      return store(async (file) => {
        await file.writeFile(bytes)
        return facts
      })
    },
    write: (source, expect) =>
      store((file) => pour(source, expect, (part) => writeAll(file, part))),
    has: (hash) => existsSync(path(hash)),
    size,
    path,
    get: async (hash) => {
      let bytes: Buffer
      try {
        bytes = await readFile(path(hash))
      } catch (error) {
        throw isMissing(error) ? lost(hash) : error
      }
      if (hashOf(bytes) !== hash) throw await drop(hash)
      return bytes
    },
    read: (hash) => readParts(path(hash), hash, () => drop(hash)),
    delete: (hash) => rm(path(hash), { force: true }),
    list: () => listFiles(dir, temporary, recent),
  }
}

/**
 * Hands a stream on part by part, hashing it. With `expect`, ERR_MESH_PROTOCOL as soon as it is known that it is not that blob;
 * without, ERR_MESH_TOO_LARGE above 16 GiB.
 */
export async function pour(
  source: AsyncIterable<Uint8Array>,
  expect: BlobFacts | undefined,
  write: (part: Uint8Array) => Promise<void>,
): Promise<BlobFacts> {
  const hasher = createHash('sha256')
  let sizeBytes = 0
  for await (const part of source) {
    sizeBytes += part.length
    if (expect !== undefined && sizeBytes > expect.sizeBytes) {
      throw protocolError(`blob ${short(expect.hash)} is longer than its ${expect.sizeBytes} bytes`)
    }
    if (sizeBytes > MAX_BLOB_BYTES) {
      throw new MeshError('ERR_MESH_TOO_LARGE', `a blob has at most ${MAX_BLOB_BYTES} bytes`)
    }
    hasher.update(part)
    await write(part)
  }
  const hash = hasher.digest('hex') as BlobHash
  if (expect !== undefined && sizeBytes !== expect.sizeBytes) {
    const is = `${sizeBytes} bytes where ${expect.sizeBytes} were announced`
    throw protocolError(`blob ${short(expect.hash)} has ${is}`)
  }
  if (expect !== undefined && hash !== expect.hash) {
    throw protocolError(`what came for blob ${short(expect.hash)} has another hash`)
  }
  return { hash, sizeBytes }
}

export function hashOf(bytes: Uint8Array): BlobHash {
  return digest('sha256', bytes, 'hex') as BlobHash
}

export function lost(hash: BlobHash, why = 'nobody here holds it'): MeshError {
  return new MeshError('ERR_MESH_RESULT_LOST', `blob ${short(hash)} cannot be read: ${why}`, {
    details: { hash },
  })
}

/** Hashes come from peers and become paths. */
export function checkHash(hash: BlobHash): BlobHash {
  invariant(HASH.test(hash), 'a blob hash is 64 lower-case hex characters')
  return hash
}

async function withFile<T>(name: string, work: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(name, 'wx', 0o600)
  try {
    const result = await work(file)
    await file.sync()
    return result
  } finally {
    await file.close()
  }
}

async function writeAll(file: FileHandle, part: Uint8Array): Promise<void> {
  let at = 0
  while (at < part.length) at += (await file.write(part, at, part.length - at)).bytesWritten
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await statOf(path))?.size
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** The last part comes only if all of them are the blob. */
async function* readParts(
  path: string,
  hash: BlobHash,
  drop: () => Promise<MeshError>,
): AsyncIterable<Uint8Array> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (error) {
    throw isMissing(error) ? lost(hash) : error
  }
  const hasher = createHash('sha256')
  let before: Buffer | undefined
  try {
    for (;;) {
      const part = Buffer.allocUnsafe(BLOB_READ_BYTES)
      const { bytesRead } = await file.read(part, 0, part.length)
      if (bytesRead === 0) break
      if (before !== undefined) yield before
      before = part.subarray(0, bytesRead)
      hasher.update(before)
    }
    if (hasher.digest('hex') !== hash) throw await drop()
    if (before !== undefined) yield before
  } finally {
    await file.close()
  }
}

/** When blobs were written by this process, by its monotonic clock: a wall clock that is set forward must not age what was just put. */
class RecentBlobs {
  private readonly at = new Map<BlobHash, number>()

  note(hash: BlobHash): void {
    this.at.delete(hash)
    this.at.set(hash, performance.now())
    if (this.at.size > MAX_RECENT_BLOBS) this.at.delete(this.at.keys().next().value!)
  }

  ageMs(hash: BlobHash): number {
    const at = this.at.get(hash)
    return at === undefined ? Infinity : performance.now() - at
  }
}

/**
 * Ages are differences of ctime, which the file system itself sets: to that of a file changed now. (mtime can be set by anyone, and
 * stays when a blob is put again.)
 */
async function* listFiles(
  dir: string,
  temporary: string,
  recent: RecentBlobs,
): ReturnType<BlobStore['list']> {
  const now = await fileSystemNow(temporary)
  for (const folder of await readdir(join(dir, 'blobs'))) {
    if (!/^[0-9a-f]{2}$/.test(folder)) continue
    for (const name of await readdir(join(dir, 'blobs', folder))) {
      if (!HASH.test(name)) continue
      const hash = name as BlobHash
      const facts = await statOf(join(dir, 'blobs', folder, name))
      if (facts === undefined) continue
      const ageMs = Math.min(Math.max(0, now - facts.ctimeMs), recent.ageMs(hash))
      yield { hash, sizeBytes: facts.size, ageMs }
    }
  }
}

/** What the file system takes for now, ms; also on a full disk: an empty file takes no space but its name. */
async function fileSystemNow(folder: string): Promise<number> {
  const probe = join(folder, 'now')
  try {
    await (await open(probe, 'a', 0o600)).close()
    await chmod(probe, 0o600)
    return (await stat(probe)).ctimeMs
  } catch (error) {
    throw writeError(folder, error)
  }
}

function temporaryFolder(dir: string): string {
  return join(dir, 'blobs', 'tmp')
}

function short(hash: string): string {
  return hash.slice(0, 8)
}

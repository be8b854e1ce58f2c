import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

export * from './writers.ts'

export async function tempDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'mesh-store-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of source) all.push(item)
  return all
}

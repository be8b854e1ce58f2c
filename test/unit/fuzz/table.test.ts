import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { decoders } from './decoders.ts'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** Where bytes from the network and the disk become values. */
const FOLDERS = [
  'src/node/wire',
  'src/node/transport',
  'src/node/control',
  'src/node',
  'src/store',
  'src/runtime',
  'src/runtime/worker',
  'src/client',
  'src/gpu',
  'src/gpu/worker',
]
const READER =
  /^export (?:async )?(?:function\*? |const )((?:decode|read|parse|unpack|decompress|scan|from|load)[A-Z]\w*|\w+IdKey|check\w+Request|guardGossip)\b/gm
const READER_CLASS = /^export class (\w*(?:Parser|FrameReader)\w*)\b/gm

/** Readers that a row of the table would say nothing of, and where they are put to the test instead. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'src/store/atomic-file.ts#readJsonFile': 'files.test.ts, through mesh.json and identity.json',
  'src/store/mesh-file.ts#loadMesh': 'files.test.ts',
  'src/store/identity.ts#loadOrCreateIdentity': 'files.test.ts',
  'src/store/level-repair.ts#readDueRepair': 'files.test.ts',
  'src/store/folder-lock.ts#readLock': 'files.test.ts',
  'src/store/store-load.ts#loadStore': 'damaged-store.test.ts',
  'src/store/fs-errors.ts#readOnly': 'makes an error',
  'src/client/results.ts#readBatches':
    'takes what decodeSpans read, and reads it with decodeSegments',
  'src/runtime/worker/gpu-frames.ts#readGpuResult': 'in the worker, which believes its peer',
  'src/runtime/worker/gpu-frames.ts#readGpuFailed': 'in the worker, which believes its peer',
  'src/runtime/worker/gpu-calls.ts#loadKernels': 'loads our own code',
  'src/runtime/worker/load.ts#loadBundle': 'runs a bundle whose hash was checked',
}

/** A name that the table does not know, written as `file#name`. */
async function readers(): Promise<string[]> {
  const found: string[] = []
  for (const folder of FOLDERS) {
    for (const file of await readdir(join(ROOT, folder), { withFileTypes: true })) {
      if (!file.isFile() || !file.name.endsWith('.ts')) continue
      const source = await readFile(join(ROOT, folder, file.name), 'utf8')
      for (const pattern of [READER, READER_CLASS]) {
        for (const [, name] of source.matchAll(pattern))
          found.push(`${folder}/${file.name}#${name}`)
      }
    }
  }
  return found
}

it('every exported reader of foreign bytes has a row in the table of decoders', async () => {
  const covered = new Set(decoders.flatMap(({ covers }) => covers))
  const missing = (await readers()).filter((name) => !covered.has(name) && !(name in ELSEWHERE))
  expect(missing, 'add a row to a decoders-*.ts in test/unit/fuzz').toEqual([])
})

it('the table names nothing that is not there', async () => {
  const there = new Set(await readers())
  const named = [...decoders.flatMap(({ covers }) => covers), ...Object.keys(ELSEWHERE)]
  expect(named.filter((name) => !there.has(name))).toEqual([])
})

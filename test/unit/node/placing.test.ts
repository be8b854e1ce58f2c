import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { MeshError } from '../../../src/base/errors.ts'
import { silentLogger } from '../../../src/base/logger.ts'
import { placeOutput } from '../../../src/node/placing.ts'
import type { BlobHash, PeerId } from '../../../src/scheduler/types.ts'
import { createMemoryBlobs } from '../../../src/store/memory-blobs.ts'
import { peerId } from './small-mesh.ts'

const [SELF, B, C] = [peerId(0), peerId(1), peerId(2)] as const
const bytes = Buffer.from('some values')
const output = {
  hash: createHash('sha256').update(bytes).digest('hex') as BlobHash,
  sizeBytes: bytes.length,
  parts: [bytes.subarray(0, 4), bytes.subarray(4)],
}

type Answer = 'takes' | 'refuses' | 'fails' | 'hangs'

function rig(answers: Partial<Record<PeerId, Answer>>, disk: 'ok' | 'full' = 'ok') {
  const blobs = createMemoryBlobs()
  const aborted: PeerId[] = []
  const got = new Map<PeerId, Buffer>()
  const parts = {
    self: SELF,
    blobs:
      disk === 'ok'
        ? blobs
        : {
            ...blobs,
            write: async () => {
              throw new MeshError('ERR_MESH_DISK_FULL', 'full')
            },
          },
    transport: () => ({
      offerBlob: async (
        to: PeerId,
        _hash: BlobHash,
        _size: number,
        source: AsyncIterable<Uint8Array>,
        signal?: AbortSignal,
      ) => {
        const answer = answers[to] ?? 'fails'
        if (answer === 'fails') throw new MeshError('ERR_MESH_UNREACHABLE', 'gone')
        if (answer === 'hangs') {
          await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()))
          aborted.push(to)
          throw new MeshError('ERR_MESH_STOPPED', 'given up')
        }
        const pieces: Uint8Array[] = []
        for await (const piece of source) pieces.push(piece)
        got.set(to, Buffer.concat(pieces))
        return answer === 'takes'
      },
    }),
    log: silentLogger,
    patienceMs: 30,
    fallbackMs: 60,
  }
  return { parts, blobs, aborted, got }
}

describe('placing a result', () => {
  it('puts it on all keepers, this peer among them', async () => {
    const { parts, blobs, got } = rig({ [B]: 'takes', [C]: 'takes' })
    const result = await placeOutput(parts, output, [B, SELF, C])
    expect(result).toMatchObject({ kind: 'blob', hash: output.hash, sizeBytes: 11 })
    expect(new Set(result.kind === 'blob' ? result.keepers : [])).toEqual(new Set([SELF, B, C]))
    expect(got.get(B)).toEqual(bytes)
    expect(Buffer.from(await blobs.get(output.hash))).toEqual(bytes)
  })

  it('names only those that gave a receipt', async () => {
    const { parts } = rig({ [B]: 'takes', [C]: 'refuses' })
    expect(await placeOutput(parts, output, [B, C])).toMatchObject({ keepers: [B] })
  })

  it('does not wait long for a slow keeper once another has it, and gives the transfer up', async () => {
    const { parts, aborted } = rig({ [B]: 'hangs' })
    expect(await placeOutput(parts, output, [SELF, B])).toMatchObject({ keepers: [SELF] })
    expect(aborted).toEqual([B])
  })

  it.each(['refuses', 'fails', 'hangs'] as const)(
    'keeps it here when the only keeper %s',
    async (answer) => {
      const { parts, blobs } = rig({ [B]: answer })
      expect(await placeOutput(parts, output, [B])).toMatchObject({ keepers: [SELF] })
      expect(await blobs.has(output.hash)).toBe(true)
    },
  )

  it('a full disk here is no harm while another peer takes it', async () => {
    const { parts } = rig({ [B]: 'takes' }, 'full')
    expect(await placeOutput(parts, output, [SELF, B])).toMatchObject({ keepers: [B] })
  })

  it('says why when nobody can keep it', async () => {
    const { parts } = rig({ [B]: 'fails' }, 'full')
    await expect(placeOutput(parts, output, [B])).rejects.toMatchObject({
      code: 'ERR_MESH_DISK_FULL',
    })
  })
})

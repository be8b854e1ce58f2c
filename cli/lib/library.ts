import { createHash } from 'node:crypto'
import { toHex } from '../../src/base/bytes.ts'
import { MeshError } from '../../src/base/errors.ts'
import { toJsonLine } from '../../src/client/format.ts'
import type { JobSource } from '../../src/client/input.ts'
import type { Job } from '../../src/client/job.ts'
import { readLines, readNdjson } from '../../src/client/lines.ts'
import { Mesh } from '../../src/client/mesh.ts'
import { type SubmitOptions as LibraryOptions, toJobOptions } from '../../src/client/options.ts'
import type { MeshBackend } from '../../src/node/types.ts'
import type { Context } from './context.ts'
import { type InputSource, openInput } from './input.ts'

export type SubmitOptions = Omit<LibraryOptions, 'onProgress'>

/** What the command uses of the library, in one place: it is imported only by the commands that need it. */
export interface Library {
  /** @throws ERR_MESH_OPTION_INVALID */
  checkOptions(options: SubmitOptions): void
  /** @throws ERR_MESH_TICKET_DAMAGED */
  checkTicket(ticket: string): Promise<void>
  /** @throws ERR_MESH_TICKET_MISMATCH when the running peer belongs to another mesh than the ticket */
  checkSameMesh(backend: MeshBackend, ticket: string): Promise<void>
  submit(
    context: Context,
    backend: MeshBackend,
    task: string,
    source: InputSource,
    options: SubmitOptions,
  ): Promise<Job>
  /** A job that was submitted before. @throws ERR_MESH_JOB_UNKNOWN, ERR_MESH_JOB_AMBIGUOUS */
  findJob(backend: MeshBackend, id: string): Promise<Job>
  /** One line of JSON: undefined -> null, bytes -> base64, BigInt -> string. */
  formatValue(value: unknown): string
}

export const library: Library = {
  checkOptions: (options) => void toJobOptions(options),
  checkTicket: async (ticket) => void (await decode(ticket)),
  async checkSameMesh(backend, ticket) {
    const { meshKey } = await decode(ticket)
    const meant = toHex(createHash('sha256').update(meshKey).digest().subarray(0, 8))
    const { mesh, dataDir, pid } = await backend.status()
    if (meant === mesh) return
    throw new MeshError(
      'ERR_MESH_TICKET_MISMATCH',
      `the ticket is of mesh ${meant.slice(0, 8)}, but the peer that runs on ${dataDir} (process ${pid}) is in mesh ${mesh.slice(0, 8)}: leave out --ticket, or use another folder (--data DIR)`,
      { details: { ticket: meant, folder: mesh } },
    )
  },
  async submit(context, backend, task, source, options) {
    return await new Mesh(backend).submit(task, await toSource(source, context), options)
  },
  async findJob(backend, id) {
    return await new Mesh(backend).job(id)
  },
  formatValue: toJsonLine,
}

async function decode(ticket: string): Promise<{ readonly meshKey: Uint8Array }> {
  const { decodeTicket } = await import('../../src/node/wire/ticket.ts')
  return decodeTicket(ticket)
}

async function toSource(source: InputSource, context: Context): Promise<JobSource> {
  if (source.kind === 'range') return { range: source.range }
  const { kind, bytes } = await openInput(source, context)
  const name = source.from === '-' ? 'standard input' : source.from
  return { items: kind === 'lines' ? readLines(bytes, { name }) : readNdjson(bytes, { name }) }
}

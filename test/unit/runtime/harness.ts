/** Runs chunks of tasks made on the spot, and gathers all that comes of them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sha256Hex } from '../../../src/base/bytes.ts'
import { createRuntime, type RuntimeOptions } from '../../../src/runtime/pool.ts'
import { decodeSegments } from '../../../src/runtime/segment.ts'
import type {
  ChunkHooks,
  ChunkOutcome,
  ChunkRequest,
  ItemError,
  RunningChunkHandle,
  Runtime,
} from '../../../src/runtime/types.ts'

type BundleFile = ChunkRequest['bundle']

export interface Finished {
  readonly outcome: ChunkOutcome
  /** By item, counted from the chunk's lo; null where it failed. */
  readonly values: unknown[]
  readonly failures: ItemError[]
  readonly lines: string[]
  readonly progress: number[]
}
export interface Started {
  readonly handle: RunningChunkHandle
  readonly finished: Promise<Finished>
  /** Resolves with the first log line that contains `text`. */
  line(text: string): Promise<string>
}

export class Harness {
  readonly runtime: Runtime
  readonly folder = mkdtempSync(join(tmpdir(), 'mesh-test-'))

  constructor(options: Partial<RuntimeOptions> = {}) {
    this.runtime = createRuntime({ slots: 1, ...options })
  }

  /** A bundle with these fields of defineTask. */
  bundle(fields: string): BundleFile {
    return this.raw(
      `export default globalThis[Symbol.for("meshwork.runtime")].defineTask({ name: "test", ${fields} })`,
    )
  }

  raw(code: string | Uint8Array): BundleFile {
    const bytes = typeof code === 'string' ? new TextEncoder().encode(code) : code
    const hash = sha256Hex(bytes)
    const path = join(this.folder, hash)
    writeFileSync(path, bytes)
    return { hash, path }
  }

  start(fields: string | BundleFile, more: Partial<ChunkRequest> = {}): Started {
    const parts: { lo: number; bytes: Uint8Array }[] = []
    const lines: string[] = []
    const progress: number[] = []
    const waiting: { text: string; tell: (line: string) => void }[] = []
    const request: ChunkRequest = {
      job: 'job',
      bundle: typeof fields === 'string' ? this.bundle(fields) : fields,
      lo: 0,
      hi: 10,
      budgetMs: Number.POSITIVE_INFINITY,
      input: { kind: 'range', start: 0 },
      args: undefined,
      retries: 0,
      timeLimitMs: undefined,
      memoryBytes: undefined,
      maxItemsPerWorker: undefined,
      peer: { id: 'peer-id', name: 'peer-name' },
      ...more,
    }
    let next = request.lo
    const hooks: ChunkHooks = {
      onOutput: ({ lo, hi, bytes }) => {
        if (lo !== next || hi <= lo) throw new Error(`output ${lo}..${hi} after ${next}`)
        next = hi
        parts.push({ lo, bytes })
      },
      onProgress: (reached) => progress.push(reached),
      onLog: ({ stream, text, item }) => {
        const line = `${stream}${item === undefined ? '' : `@${item}`} ${text}`
        lines.push(line)
        for (const it of waiting) if (line.includes(it.text)) it.tell(line)
      },
    }
    const handle = this.runtime.run(request, hooks)
    const finished = handle.done.then((outcome): Finished => {
      const segments = parts.flatMap((it) => [...decodeSegments(it.bytes, it.lo)])
      return {
        outcome,
        values: segments.flatMap((it) => it.values),
        failures: segments.flatMap((it) => it.failures),
        lines,
        progress,
      }
    })
    finished.catch(() => {})
    return {
      handle,
      finished,
      line: (text) => {
        const seen = lines.find((it) => it.includes(text))
        if (seen !== undefined) return Promise.resolve(seen)
        return new Promise((tell) => waiting.push({ text, tell }))
      },
    }
  }

  run(fields: string | BundleFile, more: Partial<ChunkRequest> = {}): Promise<Finished> {
    return this.start(fields, more).finished
  }

  async close(): Promise<void> {
    await this.runtime.close()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** True while a process of that id lives. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

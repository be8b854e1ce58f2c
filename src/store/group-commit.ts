import { MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { Change, KeyValue } from './key-value.ts'
import { SYNC_AFTER_MS } from './limits.ts'

export interface GroupCommitParts {
  readonly kv: Pick<KeyValue, 'write' | 'sync'>
  /** Everything staged so far; called just before it is written. */
  readonly take: () => Change[]
  /** What was taken last is in the database. */
  readonly written: () => void
  /** LevelDB fsyncs only with a write: this one, when there is nothing else to write. */
  readonly syncMark: () => Change
  readonly logger?: Logger | undefined
}

interface Group {
  sync: boolean
  readonly done: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/**
 * One write at a time; what is staged meanwhile shares the next one. An fsync follows within SYNC_AFTER_MS. The first write that
 * fails is the last: memory is ahead of the disk then, and whoever asks is told so.
 */
export class GroupCommit {
  private readonly parts: GroupCommitParts
  private next: Group | undefined
  private running = false
  /** Counts what is staged: all up to `synced` is on the disk, all up to `taken` was given to the database. */
  private touched = 0
  private taken = 0
  private synced = 0
  private timer: NodeJS.Timeout | undefined
  private failure: unknown

  constructor(parts: GroupCommitParts) {
    this.parts = parts
  }

  /** Something was staged. Throws what an earlier write failed with. */
  touch(): void {
    this.check()
    this.touched++
    this.arm()
  }

  private arm(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined
      this.syncSoon().catch(() => {})
    }, SYNC_AFTER_MS)
  }

  /** The sync that nobody waits for: beside the writes, where the database can do that. */
  private async syncSoon(): Promise<void> {
    const { kv } = this.parts
    if (kv.sync === undefined) return this.flush({ sync: true })
    const upTo = this.touched
    await this.flush()
    try {
      await kv.sync()
    } catch (error) {
      if (this.failure === undefined) this.fail(error, undefined)
      return
    }
    this.synced = Math.max(this.synced, upTo)
    if (this.touched > this.synced && this.failure === undefined) this.arm()
  }

  /** Throws what an earlier write failed with, or ERR_MESH_STOPPED after close. */
  check(): void {
    if (this.failure !== undefined) throw this.failure
  }

  /** Resolves when all that was staged before is written; with `sync`, on the disk. */
  flush({ sync = false }: { sync?: boolean } = {}): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure)
    const clean = this.touched === (sync ? this.synced : this.taken)
    if (clean && !this.running) return Promise.resolve()
    this.next ??= newGroup()
    this.next.sync ||= sync
    const { done } = this.next
    if (!this.running) {
      this.running = true
      // Later in this tick: what is staged and flushed until then comes along.
      queueMicrotask(() => void this.run())
    }
    return done
  }

  async close(): Promise<void> {
    if (this.failure === undefined) await this.flush({ sync: true }).catch(() => {})
    while (this.next !== undefined) await this.next.done.catch(() => {})
    clearTimeout(this.timer)
    const failed = this.failure
    this.failure = new MeshError('ERR_MESH_STOPPED', 'the store is closed')
    if (failed !== undefined) throw failed
  }

  private async run(): Promise<void> {
    while (this.next !== undefined) {
      const group = this.next
      this.next = undefined
      try {
        await this.write(group.sync)
        group.resolve()
      } catch (error) {
        this.fail(error, group)
      }
    }
    this.running = false
  }

  private async write(sync: boolean): Promise<void> {
    const upTo = this.touched
    const changes = this.parts.take()
    this.taken = upTo
    if (changes.length === 0 && sync && this.synced < upTo) changes.push(this.parts.syncMark())
    if (changes.length > 0) await this.parts.kv.write(changes, sync)
    this.parts.written()
    if (!sync) return
    this.synced = upTo
    if (this.touched === upTo) {
      clearTimeout(this.timer)
      this.timer = undefined
    }
  }

  private fail(error: unknown, group: Group | undefined): void {
    this.failure = error
    clearTimeout(this.timer)
    this.timer = undefined
    this.parts.logger?.error('the store cannot be written', { error: String(error) })
    group?.reject(error)
    this.next?.reject(error)
    this.next = undefined
  }
}

function newGroup(): Group {
  let resolve!: () => void
  let reject!: (error: unknown) => void
  const done = new Promise<void>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { sync: false, done, resolve, reject }
}

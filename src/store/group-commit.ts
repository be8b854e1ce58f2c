import { isMeshError, MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { Change, KeyValue } from './key-value.ts'
import { MAX_STALL_RETRY_MS, STALL_RETRY_MS, SYNC_AFTER_MS } from './limits.ts'

export interface GroupCommitParts {
  readonly kv: Pick<KeyValue, 'write' | 'sync' | 'recover'>
  /** Everything staged so far; called just before it is written. */
  readonly take: () => Change[]
  /** What was taken last is in the database. */
  readonly written: () => void
  /** LevelDB fsyncs only with a write: this one, when there is nothing else to write. */
  readonly syncMark: () => Change
  /** The database was opened anew: throws when it does not hold what was acknowledged. */
  readonly checkRecovered?: () => void
  /** Whether a full disk is waited for; by default it is. */
  readonly waits?: () => boolean
  /** The disk is full (again), or has room again (undefined). */
  readonly onStall?: ((error: MeshError | undefined) => void) | undefined
  readonly logger?: Logger | undefined
}

interface Group {
  sync: boolean
  readonly done: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/**
 * One write at a time; what is staged meanwhile shares the next one. An fsync follows within SYNC_AFTER_MS.
 *
 * When the disk is full, the batch that could not be written is tried again until there is room: whoever waits for it waits on, and
 * memory and disk stay in step. The first write that fails for another reason is the last: memory is ahead of the disk then, and
 * whoever asks is told so.
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
  /** Something could not be written for want of room: the database must be opened anew before it takes more. */
  private broken: MeshError | undefined
  private stall: MeshError | undefined
  private closing = false
  private wake: (() => void) | undefined
  /** Those who would rather read what is written than wait for room. */
  private readonly readers = new Set<() => void>()

  constructor(parts: GroupCommitParts) {
    this.parts = parts
  }

  /** ERR_MESH_DISK_FULL while there is no room; nothing staged since is written. */
  get stalled(): MeshError | undefined {
    return this.stall
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
      if (this.failure !== undefined) return
      if (!this.isStall(error)) this.fail(error, undefined)
      else await this.recover(error)
      return
    }
    this.synced = Math.max(this.synced, upTo)
    if (this.touched > this.synced && this.failure === undefined) this.arm()
  }

  /** Throws what an earlier write failed with, or ERR_MESH_STOPPED after close. */
  check(): void {
    if (this.failure !== undefined) throw this.failure
  }

  /** Resolves when all that was staged before is written; with `sync`, on the disk. Waits while the disk is full. */
  flush({ sync = false }: { sync?: boolean } = {}): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure)
    const clean = this.broken === undefined && this.touched === (sync ? this.synced : this.taken)
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

  /** As flush, but while the disk is full it resolves at once: reads then see what is written. */
  settle(): Promise<void> {
    if (this.failure === undefined && this.stall !== undefined) return Promise.resolve()
    const flushed = this.flush()
    return new Promise((resolve, reject) => {
      this.readers.add(resolve)
      flushed.then(resolve, reject).finally(() => this.readers.delete(resolve))
    })
  }

  /** Does a write of its own beside the batches; when the disk is full, again once there is room. */
  async retried(work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await work()
      } catch (error) {
        this.check()
        if (!this.isStall(error)) throw error
        await this.recover(error)
      }
    }
  }

  async close(): Promise<void> {
    this.closing = true
    this.wake?.()
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
    if (changes.length > 0 || this.broken !== undefined) await this.persist(changes, sync)
    this.parts.written()
    if (!sync) return
    this.synced = upTo
    if (this.touched === upTo) {
      clearTimeout(this.timer)
      this.timer = undefined
    }
  }

  // ------------------------------------------------------------ a full disk

  /** Writes a batch, however often it takes until there is room. */
  private async persist(changes: readonly Change[], sync: boolean): Promise<void> {
    for (let waitMs = STALL_RETRY_MS; ; waitMs = Math.min(waitMs * 2, MAX_STALL_RETRY_MS)) {
      try {
        if (this.broken !== undefined) await this.reopen(changes)
        if (changes.length > 0) await this.parts.kv.write(changes, sync)
        this.setStall(undefined)
        return
      } catch (error) {
        if (!this.isStall(error)) throw error
        this.broken = error
        this.setStall(error)
      }
      await this.sleep(waitMs)
      if (this.closing) throw this.broken
    }
  }

  private async reopen(changes: readonly Change[]): Promise<void> {
    let bytes = 0
    for (const { key, value } of changes) bytes += key.length + (value?.length ?? 0)
    await this.parts.kv.recover!(bytes)
    this.parts.checkRecovered?.()
    this.broken = undefined
  }

  /** A write beside the batches failed: the next batch, which may be empty, mends it. */
  private recover(error: MeshError): Promise<void> {
    this.broken = error
    this.setStall(error)
    return this.flush()
  }

  private isStall(error: unknown): error is MeshError {
    const { kv, waits } = this.parts
    if (kv.recover === undefined || this.closing || waits?.() === false) return false
    return isMeshError(error, 'ERR_MESH_DISK_FULL')
  }

  private setStall(error: MeshError | undefined): void {
    if (this.stall === error || (this.stall !== undefined && error !== undefined)) return
    this.stall = error
    if (error === undefined) this.parts.logger?.info('there is room on the disk again')
    else this.parts.logger?.error('the disk is full', { error: error.message })
    for (const resolve of this.readers) resolve()
    this.readers.clear()
    this.parts.onStall?.(error)
  }

  private sleep(waitMs: number): Promise<void> {
    if (this.closing) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, waitMs)
      this.wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
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

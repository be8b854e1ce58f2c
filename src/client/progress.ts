import type { JobInfo, MeshBackend } from '../node/types.ts'
import type { JobId } from '../scheduler/types.ts'

export type ProgressListener = (info: JobInfo) => void

/** One watch of a job, shared by all who listen; it runs while somebody does. */
export class Progress {
  private readonly backend: Pick<MeshBackend, 'watch'>
  private readonly job: JobId
  /** Each with what ends its listening. */
  private readonly listeners = new Map<() => void, ProgressListener>()
  private watching: AbortController | undefined
  private last: JobInfo | undefined

  constructor(backend: Pick<MeshBackend, 'watch'>, job: JobId) {
    this.backend = backend
    this.job = job
  }

  listen(tell: ProgressListener, signal?: AbortSignal): () => void {
    const stop = () => {
      signal?.removeEventListener('abort', stop)
      if (!this.listeners.delete(stop) || this.listeners.size > 0) return
      this.watching?.abort()
      this.watching = undefined
    }
    if (signal?.aborted === true) return stop
    signal?.addEventListener('abort', stop)
    this.listeners.set(stop, tell)
    if (this.watching === undefined) {
      this.watching = new AbortController()
      void this.watch(this.watching.signal)
    } else if (this.last !== undefined) {
      const { last } = this
      queueMicrotask(() => this.listeners.has(stop) && tellSafely(tell, last))
    }
    return stop
  }

  private async watch(signal: AbortSignal): Promise<void> {
    try {
      for await (const info of this.backend.watch(this.job, signal)) {
        if (signal.aborted) return
        this.last = info
        for (const tell of [...this.listeners.values()]) tellSafely(tell, info)
      }
    } catch {
      // Progress is a courtesy: wait(), collect() and iteration say what went wrong.
    } finally {
      // Whoever listens later starts a watch of his own.
      if (this.watching?.signal === signal) for (const stop of [...this.listeners.keys()]) stop()
    }
  }
}

/** A listener that throws must not end the others' progress; its error is nobody's but the process's. */
function tellSafely(tell: ProgressListener, info: JobInfo): void {
  try {
    tell(info)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

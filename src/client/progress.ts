import type { JobInfo, MeshBackend } from '../node/types.ts'
import type { JobId } from '../scheduler/types.ts'

export type ProgressListener = (info: JobInfo) => void

/** One watch of a job, shared by all who listen; it runs while somebody does. */
export class Progress {
  private readonly backend: Pick<MeshBackend, 'watch'>
  private readonly job: JobId
  private readonly listeners = new Set<{ readonly tell: ProgressListener }>()
  private watching: AbortController | undefined

  constructor(backend: Pick<MeshBackend, 'watch'>, job: JobId) {
    this.backend = backend
    this.job = job
  }

  listen(tell: ProgressListener, signal?: AbortSignal): () => void {
    const listener = { tell }
    const stop = () => {
      signal?.removeEventListener('abort', stop)
      this.listeners.delete(listener)
      if (this.listeners.size > 0) return
      this.watching?.abort()
      this.watching = undefined
    }
    if (signal?.aborted === true) return stop
    signal?.addEventListener('abort', stop)
    this.listeners.add(listener)
    if (this.watching === undefined) {
      this.watching = new AbortController()
      void this.watch(this.watching.signal)
    }
    return stop
  }

  private async watch(signal: AbortSignal): Promise<void> {
    try {
      for await (const info of this.backend.watch(this.job, signal)) {
        if (signal.aborted) return
        for (const { tell } of [...this.listeners]) tellSafely(tell, info)
      }
    } catch {
      // Progress is a courtesy: wait(), collect() and iteration say what went wrong.
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

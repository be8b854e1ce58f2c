/** Says why a worker died, in the words of the error that an item gets for it. */
import type { ErrorFrame } from './worker/frames.ts'
import type { Death } from './worker-process.ts'

const OUT_OF_MEMORY =
  /heap out of memory|Allocation failed|out of memory|bad_alloc|Cannot allocate memory|OOM/i
/** How V8 and malloc end a process that got no memory; a script without native code hardly gets them otherwise. */
const CRASH_SIGNALS = new Set(['SIGTRAP', 'SIGILL', 'SIGSEGV', 'SIGBUS'])
/** Sent by somebody else: a person, or the system when the whole machine is out of memory. */
const OUTSIDE_SIGNALS = new Set(['SIGKILL', 'SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT'])

export interface DeathInfo {
  readonly error: ErrorFrame
  /** Not the doing of the code that ran, as far as one can tell: it is tried again. */
  readonly outside: boolean
}

/** `timeLimitMs`: of one item, when the job has one. */
export function explainDeath(death: Death, timeLimitMs: number | undefined): DeathInfo {
  const inside = (code: string, message: string): DeathInfo => ({
    error: { code, name: 'MeshError', message },
    outside: false,
  })
  if (death.killed === 'timeLimit') {
    return inside(
      'ERR_MESH_TIME_LIMIT',
      `the item ran longer than its limit of ${(timeLimitMs ?? 0) / 1000} s and was killed; --time-limit sets the limit`,
    )
  }
  if (death.killed === 'loadTime') {
    return inside('ERR_MESH_WORKER_DIED', 'the task took too long to load and was killed')
  }
  if (death.killed === 'deaf') {
    const message = 'the worker did not answer, and was killed'
    return { error: { code: 'ERR_MESH_WORKER_DIED', name: 'MeshError', message }, outside: true }
  }
  if (death.killed === 'protocol') {
    return inside(
      'ERR_MESH_WORKER_DIED',
      'the task wrote on the pipes of its worker and was killed',
    )
  }
  const { dying, signal, exitCode } = death
  const lastWords = dying?.error
  if (lastWords !== undefined) {
    const error = {
      ...lastWords,
      message: `an error outside of run() ended the worker: ${lastWords.name}: ${lastWords.message}`,
    }
    return { error, outside: false }
  }
  if (signal !== null && OUT_OF_MEMORY.test(death.stderr)) {
    return inside('ERR_MESH_MEMORY_LIMIT', memoryMessage(death))
  }
  if (signal !== null && CRASH_SIGNALS.has(signal)) {
    return inside(
      'ERR_MESH_MEMORY_LIMIT',
      `the worker crashed with ${signal}, most likely because the task needed more memory than its cap of ${mebibytes(death)} MB; --memory sets the cap`,
    )
  }
  if (signal !== null && OUTSIDE_SIGNALS.has(signal)) {
    const error = {
      code: 'ERR_MESH_WORKER_DIED',
      name: 'MeshError',
      message: `the worker was killed by ${signal}, by somebody else or by the system (out of memory?)`,
    }
    return { error, outside: true }
  }
  if (signal !== null) {
    return inside('ERR_MESH_WORKER_DIED', `the worker crashed with ${signal}`)
  }
  return inside('ERR_MESH_WORKER_DIED', `the task called process.exit(${exitCode ?? ''})`)
}

function memoryMessage(death: Death): string {
  return `the task needed more memory than its cap of ${mebibytes(death)} MB; --memory sets the cap`
}

function mebibytes(of: Death): number {
  return Math.round(of.memoryBytes / 2 ** 20)
}

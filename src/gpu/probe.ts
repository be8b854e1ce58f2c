/** Is there a GPU, which, and how fast? Asked in a process of its own: a driver that hangs or crashes does neither here. */
import type { Logger } from '../base/logger.ts'
import { silentLogger } from '../base/logger.ts'
import { listenToChild } from '../runtime/child.ts'
import { killGroup } from '../runtime/launch.ts'
import { FrameReader } from '../runtime/worker/frames.ts'
import { adviseNoGpu, explainNoGpu, gatherGpuFacts } from './advice.ts'
import { howItEnded } from './last-words.ts'
import { launchProbe } from './launch.ts'
import { PROBE_LIMIT_MS } from './limits.ts'
import type { GpuFound } from './types.ts'
import {
  MESSAGE,
  type NoGpuMessage,
  type ProbedMessage,
  readNoGpu,
  readProbed,
} from './worker/messages.ts'

export interface ProbeOptions {
  /** An adapter's name, a part of it, or `backend:name`; the fastest without it. */
  readonly device?: string | undefined
  readonly timeLimitMs?: number
  readonly signal?: AbortSignal
  readonly log?: Logger
}

/** What the probe's process came to. */
export type ProbeOutcome =
  | { readonly kind: 'probed'; readonly probed: ProbedMessage }
  | { readonly kind: 'noGpu'; readonly message: NoGpuMessage }
  | { readonly kind: 'died'; readonly how: string }

/** Never rejects: what stands in the way is the `reason` of a GPU that is not there. Takes about a second, `timeLimitMs` at most. */
export async function probeGpu(options: ProbeOptions = {}): Promise<GpuFound> {
  const outcome = await runProbe(options)
  const found = judge(outcome)
  const log = options.log ?? silentLogger
  log.debug('GPU probed', { state: found.state, name: found.name, reason: found.reason })
  return found
}

const NONE: GpuFound = {
  state: 'none',
  name: '',
  deviceClass: '',
  reason: '',
  advice: [],
  adapters: [],
  gflops: 0,
  upMBs: 0,
  downMBs: 0,
  maxBufferBytes: 0,
  maxStorageBuffers: 0,
}

export function judge(outcome: ProbeOutcome): GpuFound {
  switch (outcome.kind) {
    case 'died':
      return {
        ...NONE,
        reason: `the GPU's driver did not survive a look at it: ${outcome.how}`,
        advice: ['update the driver of the GPU, or choose another adapter with --gpu-device'],
      }
    case 'noGpu': {
      const { why, adapters } = outcome.message
      const reason = explainNoGpu(why, adapters)
      const advice = adviseNoGpu(why, gatherGpuFacts(), adapters)
      const broken = why.kind === 'compiler' ? { broken: true as const } : {}
      return { ...NONE, adapters, reason, advice, ...broken }
    }
    case 'probed': {
      const { wrong, software, ...measured } = outcome.probed
      if (wrong === '') {
        return { ...measured, state: software ? 'software' : 'hardware', reason: '', advice: [] }
      }
      const advice = ['update the driver of the GPU: it is not used as it is']
      return { ...measured, state: 'none', reason: wrong, advice }
    }
  }
}

function runProbe(options: ProbeOptions): Promise<ProbeOutcome> {
  return new Promise((resolve) => {
    const channels = launchProbe(options.device)
    const end = (outcome: ProbeOutcome): void => {
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', onAbort)
      killGroup(channels.child)
      channels.lifeline.destroy()
      resolve(outcome)
    }
    const { timeLimitMs = PROBE_LIMIT_MS } = options
    const timer = setTimeout(
      () => end({ kind: 'died', how: `no answer after ${timeLimitMs / 1000} s` }),
      timeLimitMs,
    )
    const onAbort = (): void => end({ kind: 'died', how: 'it was stopped' })
    options.signal?.addEventListener('abort', onAbort, { once: true })
    if (options.signal?.aborted === true) onAbort()
    const reader = new FrameReader((type, payload) => {
      if (type === MESSAGE.noGpu) end({ kind: 'noGpu', message: readNoGpu(payload) })
      if (type === MESSAGE.probed) end({ kind: 'probed', probed: readProbed(payload) })
    })
    listenToChild(channels, {
      onNotStarted: (error) => end({ kind: 'died', how: error.message }),
      onLine: () => {},
      onReport: (bytes) => {
        try {
          reader.push(bytes)
        } catch (error) {
          end({ kind: 'died', how: (error as Error).message })
        }
      },
      onExit: () => {},
      onEnd: (exitCode, signal, stderr) =>
        end({ kind: 'died', how: howItEnded(exitCode, signal, stderr) }),
    })
  })
}

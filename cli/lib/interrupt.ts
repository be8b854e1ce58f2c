import type { Context, StopSignal } from './context.ts'
import { EXIT } from './exit-codes.ts'

/** The user's wish to stop: the first signal asks, the second ends the process at once. */
export interface Interrupt {
  readonly signal: AbortSignal
  /** The exit code that the signal means; undefined while none came. */
  readonly code: number | undefined
  /** Resolves with the first signal; never rejects. */
  readonly asked: Promise<StopSignal>
  dispose(): void
}

export function listenForInterrupt(context: Context): Interrupt {
  const controller = new AbortController()
  let code: number | undefined
  let resolveAsked: (signal: StopSignal) => void = () => {}
  const asked = new Promise<StopSignal>((resolve) => {
    resolveAsked = resolve
  })
  const dispose = context.onSignal((signal) => {
    if (code !== undefined) {
      context.exitNow(code)
      return
    }
    code = signal === 'SIGINT' ? EXIT.interrupted : EXIT.terminated
    resolveAsked(signal)
    controller.abort()
  })
  return {
    signal: controller.signal,
    get code() {
      return code
    },
    asked,
    dispose,
  }
}

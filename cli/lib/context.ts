import type { MeshBackend } from '../../src/node/types.ts'

export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

export interface Terminal extends NodeJS.WritableStream {
  readonly isTTY?: boolean
  readonly columns?: number
}

/** How to start a peer inside this process (src/node/local-backend.ts takes the same). */
export interface PeerOptions {
  readonly dataDir: string
  readonly ticket?: string
  readonly cores?: number
  readonly name?: string
  readonly listen?: string[]
  readonly announce?: string[]
  readonly mdns?: boolean
  readonly embedded?: boolean
  readonly keep?: { readonly days?: number; readonly bytes?: number }
  readonly minFree?: number
  readonly lease?: number
  readonly gpu?: { readonly mode: 'auto' | 'off' | 'require'; readonly device?: string }
  readonly labels?: Readonly<Record<string, string>>
  readonly verbose?: boolean
}

/** Everything a command touches outside itself: tests hand in another. */
export interface Context {
  readonly stdin: NodeJS.ReadableStream & { destroy(): void }
  readonly stdout: Terminal
  readonly stderr: Terminal
  readonly env: Readonly<Record<string, string | undefined>>
  /** Monotonic milliseconds. */
  now(): number
  /** Wall clock, for ages. */
  wallClock(): number
  onSignal(listener: (signal: StopSignal) => void): () => void
  /** Ends the process at once: the second Ctrl-C. */
  exitNow(code: number): void
  defaultDataDir(): Promise<string>
  /** The peer that runs on this folder; undefined when none does. */
  attach(dataDir: string): Promise<MeshBackend | undefined>
  /** A peer in this process; it ends with `close()`. */
  startPeer(options: PeerOptions): Promise<MeshBackend>
}

/** What a sub-command's file exports: it adds itself to the program. */
export interface App {
  readonly context: Context
  /** Sets the exit code. */
  finish(code: number): void
}

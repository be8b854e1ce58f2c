import { freePort } from '../../helpers/tcp-proxy.ts'

/** Where the peers of a chaos run live: what lies between them can be cut and healed. */
export interface Place {
  /** The command that runs `command` there. */
  command(command: string, args: readonly string[]): [string, string[]]
  /** What `mesh join` needs to know of it. */
  readonly flags: readonly string[]
}

export interface ChaosNetwork {
  readonly kind: 'namespaces' | 'proxies' | 'loopback'
  readonly places: readonly Place[]
  /** A process runs there now, or none does. */
  occupied(index: number, pid: number | undefined): Promise<void>
  /** No byte goes in or out any more, and nobody is told: a pulled cable. */
  cut(index: number): Promise<void>
  heal(index: number): Promise<void>
  close(): Promise<void>
}

/** Each peer on a port of loopback of its own, the same at each start; nothing can be cut. */
export async function createLoopback(count: number): Promise<ChaosNetwork> {
  const ports: number[] = []
  for (let i = 0; i < count; i += 1) ports.push(await freePort())
  const never = (): Promise<void> => Promise.reject(new Error('loopback cannot be cut'))
  return {
    kind: 'loopback',
    places: ports.map((port) => ({
      command: (command, args) => [command, [...args]],
      flags: ['--listen', `/ip4/127.0.0.1/tcp/${port}`],
    })),
    occupied: async () => undefined,
    cut: never,
    heal: never,
    close: async () => undefined,
  }
}

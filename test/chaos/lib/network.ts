/** Where the peers of a chaos run live: what lies between them can be cut and healed. */
export interface Place {
  /** The command that runs `command` there. */
  command(command: string, args: readonly string[]): [string, string[]]
  /** What `mesh join` needs to know of it. */
  readonly flags: readonly string[]
}

export interface ChaosNetwork {
  readonly kind: 'namespaces' | 'proxies'
  readonly places: readonly Place[]
  /** A process runs there now, or none does. */
  occupied(index: number, pid: number | undefined): Promise<void>
  /** No byte goes in or out any more, and nobody is told: a pulled cable. */
  cut(index: number): Promise<void>
  heal(index: number): Promise<void>
  close(): Promise<void>
}

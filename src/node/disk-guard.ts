import { statfs } from 'node:fs/promises'
import { MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { UpkeepTimes } from './upkeep-times.ts'

export interface DiskSpace {
  readonly freeBytes: number
  readonly totalBytes: number
}

export interface DiskGuardParts {
  readonly dir: string
  /** What must stay free; default: 512 MB or 2 % of the disk, whichever is smaller. */
  readonly minFreeBytes: number | undefined
  /** Called on each change. */
  readonly changed: (short: boolean) => void
  readonly times: Pick<UpkeepTimes, 'diskEveryMs'>
  readonly log: Logger
  /** The free space of the disk that holds a folder; tests hand in another. */
  readonly space?: (dir: string) => Promise<DiskSpace>
}

const DEFAULT_RESERVE_BYTES = 512 * 1024 * 1024
const DEFAULT_RESERVE_SHARE = 0.02
/** Work is taken again when so much more than the reserve is free: else a peer would change its mind with every chunk. */
const ROOM_FACTOR = 1.25
const VAIN_MS = 60_000

/** Watches the disk that holds the data folder: below a reserve the peer takes nothing more, above it (and a margin) it does again. */
export class DiskGuard {
  private readonly parts: DiskGuardParts
  private timer: NodeJS.Timeout | undefined
  private checking: Promise<void> | undefined
  private isShort = false
  private last: DiskSpace | undefined
  /** The store waits for room: nothing is written until then. */
  private stalled = false
  /** A write failed for want of space; believed for a while, whatever the disk says of its free bytes (quotas). */
  private vainUntil = 0

  constructor(parts: DiskGuardParts) {
    this.parts = parts
  }

  async start(): Promise<void> {
    await this.check()
    this.timer = setInterval(() => void this.check(), this.parts.times.diskEveryMs)
    this.timer.unref()
  }

  close(): void {
    clearInterval(this.timer)
  }

  /** Below the reserve, as of the last look. */
  get short(): boolean {
    return this.isShort
  }

  /** Undefined while nothing is known of the disk. */
  get space(): DiskSpace | undefined {
    return this.last
  }

  get reserveBytes(): number {
    const { minFreeBytes } = this.parts
    if (minFreeBytes !== undefined) return minFreeBytes
    const share = (this.last?.totalBytes ?? Number.POSITIVE_INFINITY) * DEFAULT_RESERVE_SHARE
    return Math.min(DEFAULT_RESERVE_BYTES, share)
  }

  /** Looks now. A disk that cannot be asked is taken to have room: writes say when it has not. */
  check(): Promise<void> {
    this.checking ??= this.look().finally(() => {
      this.checking = undefined
    })
    return this.checking
  }

  /** A write failed for want of space. */
  async wroteInVain(): Promise<void> {
    this.vainUntil = performance.now() + VAIN_MS
    await this.check()
  }

  /** The store stopped taking writes, or takes them again. */
  storeStalled(stalled: boolean): void {
    this.stalled = stalled
    void this.check()
  }

  /** @throws ERR_MESH_DISK_FULL while the disk is short, or when `bytes` more would make it so */
  async assertRoom(bytes = 0): Promise<void> {
    await this.check()
    const free = this.last?.freeBytes
    if (!this.isShort && (free === undefined || free - bytes >= this.reserveBytes)) return
    throw this.full()
  }

  full(): MeshError {
    const { dir } = this.parts
    const freeBytes = this.last?.freeBytes ?? 0
    return new MeshError(
      'ERR_MESH_DISK_FULL',
      `the disk that holds ${dir} has ${megabytes(freeBytes)} free, less than the ${megabytes(this.reserveBytes)} that this peer leaves: free some space, or give \`mesh join --min-free\` a smaller size`,
      { details: { dir, freeBytes, reserveBytes: this.reserveBytes } },
    )
  }

  /** For `mesh status`; undefined while there is room. */
  warning(): string | undefined {
    if (!this.isShort) return undefined
    return `the disk is nearly full (${megabytes(this.last?.freeBytes ?? 0)} free, ${megabytes(this.reserveBytes)} are left alone): this peer takes no work and keeps nothing for others until there is room`
  }

  private async look(): Promise<void> {
    try {
      this.last = await (this.parts.space ?? diskSpace)(this.parts.dir)
    } catch (error) {
      this.parts.log.debug('the disk cannot be asked for its free space', { error: String(error) })
      return
    }
    const { freeBytes } = this.last
    const blocked = this.stalled || performance.now() < this.vainUntil
    if (!this.isShort && (blocked || freeBytes < this.reserveBytes)) this.turn(true)
    else if (this.isShort && !blocked && freeBytes >= this.reserveBytes * ROOM_FACTOR) {
      this.turn(false)
    }
  }

  private turn(short: boolean): void {
    this.isShort = short
    const facts = { freeBytes: this.last?.freeBytes, reserveBytes: this.reserveBytes }
    this.parts.log.warn(short ? 'the disk is nearly full' : 'the disk has room again', facts)
    this.parts.changed(short)
  }
}

async function diskSpace(dir: string): Promise<DiskSpace> {
  const { bavail, blocks, bsize } = await statfs(dir)
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
}

function megabytes(bytes: number): string {
  const mib = bytes / 1024 / 1024
  return mib >= 1024 ? `${(mib / 1024).toFixed(1)} GiB` : `${Math.floor(mib)} MiB`
}

import { MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { adviseNoGpu, explainNoGpu, gatherGpuFacts } from './advice.ts'
import { probeGpu } from './probe.ts'
import type { GpuFound } from './types.ts'

export interface GpuOptions {
  /** `off`: none is looked for. `require`: without one the peer does not start. */
  readonly mode: 'auto' | 'off' | 'require'
  /** An adapter's name, a part of it, or `backend:name`. A software adapter is used only when it is named: the CPU itself is faster. */
  readonly device?: string | undefined
}

/** The GPU that this peer computes on, if any: looked for once, in a process of its own. */
export class ChosenGpu {
  readonly options: GpuOptions
  private readonly log: Logger
  private readonly probe: typeof probeGpu
  private readonly stop = new AbortController()
  private looking: Promise<GpuFound | undefined> | undefined
  private known: GpuFound | undefined

  constructor(options: GpuOptions, log: Logger, probe = probeGpu) {
    this.options = options
    this.log = log
    this.probe = probe
  }

  /** What the probe found; undefined before it ended, and when none is looked for. */
  get found(): GpuFound | undefined {
    return this.known
  }

  /** The probe's result, used or not; undefined with `off`. */
  look(): Promise<GpuFound | undefined> {
    this.looking ??= this.lookOnce()
    return this.looking
  }

  /** The device to compute on; undefined: the CPU. */
  async device(): Promise<{ readonly device?: string | undefined } | undefined> {
    const found = await this.look()
    return found !== undefined && this.uses(found) ? { device: this.options.device } : undefined
  }

  /** @throws ERR_MESH_NO_GPU when `require` asks for one that is not there */
  async check(): Promise<void> {
    if (this.options.mode !== 'require') return
    const found = await this.look()
    if (found === undefined || this.uses(found)) return
    const why = found.state === 'software' ? `${found.name} is no GPU` : found.reason
    throw new MeshError(
      'ERR_MESH_NO_GPU',
      `this machine has no GPU to compute on: ${why}. \`mesh doctor\` explains it; without --gpu require kernels run on the CPU`,
      { details: { advice: found.advice, adapters: found.adapters } },
    )
  }

  uses({ state }: GpuFound): boolean {
    return state === 'hardware' || (state === 'software' && this.options.device !== undefined)
  }

  /** Why the GPU that was named, or that is there, is not used; undefined when it is, or where nobody would expect one. */
  get unused(): string | undefined {
    const found = this.known
    if (found === undefined || this.uses(found)) return undefined
    const { device } = this.options
    if (device === undefined && (found.state === 'software' || found.adapters.length === 0)) {
      return found.broken === true ? found.reason : undefined
    }
    return found.reason
  }

  close(): void {
    this.stop.abort()
  }

  private async lookOnce(): Promise<GpuFound | undefined> {
    if (this.options.mode === 'off') return undefined
    const { device } = this.options
    const hopeless = device === undefined ? noDriver() : undefined
    if (hopeless !== undefined) {
      this.known = hopeless
      return hopeless
    }
    this.known = await this.probe({ device, signal: this.stop.signal, log: this.log })
    return this.known
  }
}

/** Without a Vulkan loader and a driver no process needs to be started to see that there is nothing. */
function noDriver(): GpuFound | undefined {
  if (process.platform !== 'linux') return undefined
  const facts = gatherGpuFacts()
  if (facts.vulkanLoader && facts.drivers.length > 0) return undefined
  const why = { kind: 'noAdapter' } as const
  return {
    state: 'none',
    name: '',
    deviceClass: '',
    reason: explainNoGpu(why, []),
    advice: adviseNoGpu(why, facts, []),
    adapters: [],
    gflops: 0,
    upMBs: 0,
    downMBs: 0,
    maxBufferBytes: 0,
    maxStorageBuffers: 0,
  }
}

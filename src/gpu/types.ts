/** The contract between the parts that run kernels: what travels, and what a GPU process is asked for and says. */

/** Extent of an array or an output: [x], [x, y] or [x, y, z]; x runs fastest. Elements are f32, little-endian. */
export type Size = readonly [number] | readonly [number, number] | readonly [number, number, number]

/**
 * When two results of a kernel agree: |a - b| <= absolute + relative × |b| for each element, but for a share `cells` of them. Needed where
 * different devices compute one job: within one class of devices results are the same bit for bit.
 */
export interface Tolerance {
  readonly absolute?: number
  readonly relative?: number
  readonly cells?: number
}

/** An argument as it travels. `perItem`: its outermost axis is the output's, and a launch over a slice gets that slice of it alone. */
export type KernelArg =
  | { readonly kind: 'number'; readonly value: number }
  | {
      readonly kind: 'array'
      /** SHA-256 of its bytes, hex: the blob that holds them. */
      readonly hash: string
      readonly size: Size
      readonly perItem: boolean
    }

/**
 * A kernel as it travels: the blob that a job names as its bundle. Items are elements of a 1-D output, else its rows along x: item i of
 * [x, y, z] is the row y = i mod Y, z = floor(i / Y).
 */
export interface KernelSpec {
  readonly v: 1
  readonly name: string
  /** `function (a, b) { … }`, as it was written. Nobody has checked it yet. */
  readonly source: string
  readonly output: Size
  readonly constants: Readonly<Record<string, number>>
  readonly args: readonly KernelArg[]
  /** Most iterations of one loop; gpu.js cuts loops off at this without a word. */
  readonly loopMaxIterations: number
  readonly tolerance: Tolerance
  readonly requiresGpu: boolean
}

/** How a device computes: what is bit-identical within one class. 'webasm' is the CPU. */
export type Backend = 'webgpu' | 'webasm'

/** What the probe of a machine found; undefined fields were not measured. */
export interface GpuFound {
  readonly state: 'hardware' | 'software' | 'none'
  /** Its name for people; '' when there is none. */
  readonly name: string
  /** Vendor, architecture and driver in one string: results are bit-identical within it. */
  readonly deviceClass: string
  /** Why there is none, or why it is not used: one sentence. '' when it is fine. */
  readonly reason: string
  /** What to install or set, a line each. */
  readonly advice: readonly string[]
  /** No kernel runs on this machine, on its CPU neither. */
  readonly broken?: true
  /** Names of all adapters there are, as `backend:name`. */
  readonly adapters: readonly string[]
  readonly gflops: number
  readonly upMBs: number
  readonly downMBs: number
  readonly maxBufferBytes: number
  readonly maxStorageBuffers: number
}

/** A launch over items [lo, hi) of a kernel. */
export interface Launch {
  readonly spec: KernelSpec
  /** SHA-256 of the spec's blob, hex: one compiled kernel is kept for it. */
  readonly key: string
  readonly lo: number
  readonly hi: number
  /** Files on this machine that hold the arrays, by hash. */
  readonly files: Readonly<Record<string, string>>
}

export interface Launched {
  /** The items' elements, in item order, f32 little-endian; at a multiple of 4 in its buffer, so that a Float32Array can be laid over it. */
  readonly bytes: Uint8Array
  readonly backend: Backend
  readonly deviceClass: string
  /** Start of the process, compilation, and upload of what stays on the device; 0 when all was there. */
  readonly preparedMs: number
  /** The launch itself, with its own slices up and its output down. */
  readonly elapsedMs: number
}

/** A process that runs launches one after another; it is started when first needed, killed when a launch overruns, and comes back. */
export interface KernelProcess {
  readonly backend: Backend
  /**
   * ERR_MESH_KERNEL_INVALID, ERR_MESH_KERNEL_FAILED, ERR_MESH_WORKER_DIED, ERR_MESH_TIME_LIMIT, ERR_MESH_STOPPED. With `details.notStarted`
   * when it was before the first element was computed.
   */
  launch(
    launch: Launch,
    options?: { readonly timeLimitMs?: number; readonly signal?: AbortSignal },
  ): Promise<Launched>
  /** Its process id while there is one. */
  readonly pid: number | undefined
  close(): Promise<void>
}

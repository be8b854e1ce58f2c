/** Arrays that stay on the device between launches, by hash: an array that many launches share goes up once. */
import { elementsOf } from '../../base/extents.ts'
import { MAX_DEVICE_BYTES } from '../limits.ts'
import { fillArray } from './array-file.ts'
import { type ArrayArgument, ELEMENT_BYTES } from './engine.ts'
import type { DeviceContext } from './gpujs.ts'
import { type Keepable, Kept } from './kept.ts'

/** GPUBufferUsage: STORAGE and COPY_DST. Numbers, since its name is global only once Dawn is loaded. */
const STORAGE_USAGE = 0x0080 | 0x0008
/** So many small arrays; what counts is their size. */
const MAX_ARRAYS = 4096

/** One buffer of the device. */
export class DeviceBuffer implements Keepable {
  readonly bytes: number
  readonly buffer: GPUBuffer

  /** `fill` writes the buffer's first contents. */
  constructor(device: GPUDevice, bytes: number, fill?: (target: Uint8Array) => void) {
    this.bytes = bytes
    this.buffer = device.createBuffer({
      size: bytes,
      usage: STORAGE_USAGE,
      mappedAtCreation: fill !== undefined,
    })
    if (fill === undefined) return
    try {
      fill(new Uint8Array(this.buffer.getMappedRange()))
      this.buffer.unmap()
    } catch (error) {
      this.buffer.destroy()
      throw error
    }
  }

  destroy(): void {
    this.buffer.destroy()
  }
}

export class DeviceArrays {
  private readonly context: DeviceContext
  private readonly kept = new Kept<DeviceBuffer>(MAX_DEVICE_BYTES, MAX_ARRAYS)

  constructor(context: DeviceContext) {
    this.context = context
  }

  get bytes(): number {
    return this.kept.bytes
  }

  /** Brings what is not there yet, and says how many that were; all of `args` stay until the next call. */
  ensure(args: readonly ArrayArgument[], files: Readonly<Record<string, string>>): number {
    const inUse = new Set(args.map((arg) => arg.hash))
    let uploaded = 0
    for (const arg of args) {
      const bytes = elementsOf(arg.size) * ELEMENT_BYTES
      // The same bytes under another size are another array.
      if (this.kept.get(arg.hash)?.bytes === bytes) continue
      this.kept.drop(arg.hash)
      this.kept.makeRoom(bytes, inUse)
      const buffer = new DeviceBuffer(this.context.device, bytes, (target) =>
        fillArray(arg.name, files[arg.hash], bytes, 0, target),
      )
      this.kept.add(arg.hash, buffer)
      uploaded++
    }
    return uploaded
  }

  drop(args: readonly ArrayArgument[]): void {
    for (const { hash } of args) this.kept.drop(hash)
  }

  clear(): void {
    this.kept.clear()
  }

  get(hash: string): DeviceBuffer {
    return this.kept.get(hash)!
  }
}

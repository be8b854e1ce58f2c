/** Finds this machine's GPU: loads Dawn, picks an adapter and installs it as navigator.gpu, where gpu.js looks. Only in a process of its own. */
import { MAX_ADAPTERS, MAX_NAME_CHARS } from './limits.ts'

/** Why there is no GPU to compute on. */
export type NoGpu =
  /** Dawn's library cannot be loaded. */
  | { readonly kind: 'library'; readonly message: string }
  /** It found no adapter. */
  | { readonly kind: 'noAdapter' }
  /** There are adapters, but none of the name that was asked for. */
  | { readonly kind: 'otherName'; readonly wanted: string }
  /** gpu.js cannot be loaded: no kernel runs on this machine, on its CPU neither. */
  | { readonly kind: 'compiler'; readonly message: string }
  /** There is one, and it refused to work. */
  | { readonly kind: 'broken'; readonly message: string }

export interface FoundAdapter {
  readonly adapter: GPUAdapter
  readonly name: string
  /** Vendor, architecture and driver: results are bit-identical within it. */
  readonly deviceClass: string
  /** It computes on the CPU. */
  readonly software: boolean
}

export type Boot =
  | { readonly ok: true; readonly found: FoundAdapter; readonly adapters: readonly string[] }
  | { readonly ok: false; readonly why: NoGpu; readonly adapters: readonly string[] }

/** Dawn for Node. */
interface Dawn {
  create(flags: readonly string[]): GPU
  readonly globals: object
}

const SOFTWARE = /llvmpipe|lavapipe|softpipe|swiftshader|software|\bwarp\b|basic render|null/i
const BACKENDS = ['vulkan', 'metal', 'd3d12', 'd3d11', 'opengles', 'opengl', 'null']

/** The objects of Dawn live no longer than the one that made them: without this a collection of garbage crashes the process. */
const alive: GPU[] = []

/** `device`: part of an adapter's name, or `backend:name` as `adapters` lists them; undefined for the fastest. Never throws. */
export async function bootWebgpu(device?: string): Promise<Boot> {
  let dawn: Dawn
  try {
    dawn = (await import('webgpu')) as unknown as Dawn
  } catch (error) {
    return { ok: false, why: { kind: 'library', message: (error as Error).message }, adapters: [] }
  }
  const adapters = await listAdapters(dawn)
  const wanted = asListed(wantedDevice(device), adapters)
  try {
    const adapter = await requestAdapter(dawn, wanted)
    if (adapter === null) {
      const named = device !== undefined && adapters.length > 0
      const why: NoGpu = named ? { kind: 'otherName', wanted: device } : { kind: 'noAdapter' }
      return { ok: false, why, adapters }
    }
    install(dawn, adapter)
    return { ok: true, found: { adapter, ...describeInfo(adapter.info, adapters) }, adapters }
  } catch (error) {
    return { ok: false, why: { kind: 'broken', message: (error as Error).message }, adapters }
  }
}

/** `backend:name` of every adapter; Dawn tells them in the error for a name that does not exist. */
async function listAdapters(dawn: Dawn): Promise<string[]> {
  try {
    const gpu = dawn.create(['adapter=__list__'])
    alive.push(gpu)
    await gpu.requestAdapter()
    return []
  } catch (error) {
    return adaptersIn((error as Error).message).slice(0, MAX_ADAPTERS)
  }
}

export function adaptersIn(message: string): string[] {
  const lines = message.matchAll(/backend: '([^']*)', name: '([^'\n]*)'/g)
  return [...lines].map(([, backend, name]) => `${backend}:${name}`.slice(0, MAX_NAME_CHARS))
}

interface WantedDevice {
  readonly backend: string | undefined
  readonly name: string | undefined
}

export function wantedDevice(device: string | undefined): WantedDevice {
  if (device === undefined) return { backend: undefined, name: undefined }
  const [first = '', ...rest] = device.split(':')
  const backend = first.toLowerCase()
  if (!BACKENDS.includes(backend)) return { backend: undefined, name: device }
  return { backend, name: rest.join(':') || undefined }
}

/** Dawn minds capitals; who types a name should not have to. */
function asListed(wanted: WantedDevice, adapters: readonly string[]): WantedDevice {
  if (wanted.name === undefined) return wanted
  const sought = wanted.name.toLowerCase()
  for (const adapter of adapters) {
    const [backend, ...rest] = adapter.split(':')
    if (wanted.backend !== undefined && backend?.toLowerCase() !== wanted.backend) continue
    const name = rest.join(':')
    const at = name.toLowerCase().indexOf(sought)
    if (at >= 0) return { ...wanted, name: name.slice(at, at + sought.length) }
  }
  return wanted
}

async function requestAdapter(dawn: Dawn, wanted: WantedDevice): Promise<GPUAdapter | null> {
  const flags: string[] = []
  if (wanted.backend !== undefined) flags.push(`backend=${wanted.backend}`)
  if (wanted.name !== undefined) flags.push(`adapter=${wanted.name}`)
  const gpu = dawn.create(flags)
  alive.push(gpu)
  const options: GPURequestAdapterOptions = { powerPreference: 'high-performance' }
  // OpenGL ES can do no more than this, and then Dawn gives it only to those who say that it will do.
  if (wanted.backend === 'opengles') options.featureLevel = 'compatibility'
  try {
    return await gpu.requestAdapter(options)
  } catch {
    // No adapter of that name; without a name it answers with null.
    return null
  }
}

/** gpu.js takes the adapter from navigator.gpu, and asks it for the limits of two things of which it needs a third. */
function install(dawn: Dawn, adapter: GPUAdapter): void {
  Object.assign(globalThis, dawn.globals)
  const { maxStorageBuffersPerShaderStage } = adapter.limits
  const requestDevice = adapter.requestDevice.bind(adapter)
  adapter.requestDevice = (descriptor: GPUDeviceDescriptor = {}) =>
    requestDevice({
      ...descriptor,
      requiredLimits: { ...descriptor.requiredLimits, maxStorageBuffersPerShaderStage },
    })
  // Node 20 has no navigator.
  if (globalThis.navigator === undefined) {
    Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true })
  }
  Object.defineProperty(globalThis.navigator, 'gpu', {
    value: { requestAdapter: async () => adapter },
    configurable: true,
  })
}

/** The parts of an adapter's own description that we read; any may be ''. */
type AdapterWords = Pick<
  GPUAdapterInfo,
  'vendor' | 'architecture' | 'device' | 'description' | 'isFallbackAdapter'
>

/** `adapters`: names as they are listed, which are written for people; an adapter itself knows its own in small letters only. */
export function describeInfo(
  info: AdapterWords,
  adapters: readonly string[],
): Omit<FoundAdapter, 'adapter'> {
  const { vendor, architecture, device, description } = info
  const listed = adapters.map((line) => line.slice(line.indexOf(':') + 1))
  const written = listed.find((name) => name.toLowerCase().replace(/[^a-z0-9]+/g, '-') === device)
  const words = [vendor, architecture, device, description].join(' ')
  const driver = [vendor, architecture || device, description].filter((word) => word !== '')
  return {
    name: (written || device || description || architecture || vendor || 'GPU').slice(
      0,
      MAX_NAME_CHARS,
    ),
    deviceClass: driver.join(' / ').slice(0, MAX_NAME_CHARS),
    software: info.isFallbackAdapter || SOFTWARE.test(words),
  }
}

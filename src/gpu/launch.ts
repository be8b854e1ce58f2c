/** Starts the processes of this room: code from strings off, nothing of the peer's environment but what finds the device. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../base/errors.ts'
import { cleanEnvironment, launchGroup, type WorkerChannels } from '../runtime/launch.ts'
import { V8_RESERVED_BYTES } from '../runtime/limits.ts'
import { CPU_OVERHEAD_BYTES, HEAP_BYTES, MAX_KERNEL_BYTES, MAX_RESIDENT_BYTES } from './limits.ts'
import type { Backend } from './types.ts'

/** Where a driver is found and what it may use; a person who sets them means the GPU processes too. */
const DEVICE_ENV = [
  ...['LD_LIBRARY_PATH', 'XDG_RUNTIME_DIR', 'XDG_CACHE_HOME', 'XDG_DATA_DIRS', 'XDG_CONFIG_DIRS'],
  ...['VK_DRIVER_FILES', 'VK_ADD_DRIVER_FILES', 'VK_ICD_FILENAMES', 'VK_LOADER_DEBUG'],
  ...['EGL_PLATFORM', '__EGL_VENDOR_LIBRARY_FILENAMES', '__EGL_VENDOR_LIBRARY_DIRS'],
  ...['LIBGL_DRIVERS_PATH', 'DRI_PRIME', 'MESA_VK_DEVICE_SELECT', 'LP_NUM_THREADS'],
  ...['NVIDIA_VISIBLE_DEVICES', 'NVIDIA_DRIVER_CAPABILITIES', 'CUDA_VISIBLE_DEVICES'],
  ...['HIP_VISIBLE_DEVICES', 'ROCR_VISIBLE_DEVICES'],
  ...['__NV_PRIME_RENDER_OFFLOAD', '__GLX_VENDOR_LIBRARY_NAME'],
]

/** From this version on Node's permission model is stable; before, it warns on stderr and is another flag. */
const PERMISSION_MAJOR = 24

export interface GpuProcessOptions {
  readonly backend: Backend
  /** An adapter's name, or a part of it; only for webgpu. */
  readonly device?: string | undefined
}

/** A process that runs launches. Never throws for a process that cannot start: `child` emits 'error'. */
export function launchKernelProcess(options: GpuProcessOptions): WorkerChannels {
  const { backend, device } = options
  const args = [...nodeFlags(backend), entryOf('main'), backend]
  if (device !== undefined) args.push(device)
  const onCpu = backend === 'webasm'
  // A driver maps memory of the device too, of which the limit knows nothing.
  const dataBytes = MAX_RESIDENT_BYTES + MAX_KERNEL_BYTES + CPU_OVERHEAD_BYTES + V8_RESERVED_BYTES
  return launchGroup(args, {
    dataBytes: onCpu ? dataBytes : 0,
    env: kernelEnvironment(process.env),
    // Who feeds a GPU must not wait for the CPU.
    nice: onCpu,
  })
}

/** The process that looks for a device and tries it. */
export function launchProbe(device: string | undefined): WorkerChannels {
  const args = [...nodeFlags('webgpu'), entryOf('probe')]
  if (device !== undefined) args.push(device)
  return launchGroup(args, { dataBytes: 0, env: kernelEnvironment(process.env), nice: false })
}

/** What a process of this room sees of the peer's environment. */
function kernelEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = cleanEnvironment(env)
  for (const name of DEVICE_ENV) {
    if (env[name] !== undefined) kept[name] = env[name]
  }
  return kept
}

export function nodeFlags(backend: Backend, version = process.versions.node): string[] {
  const flags = [
    `--max-old-space-size=${HEAP_BYTES / 2 ** 20}`,
    // gpu.js turns kernels into functions with `new Function` when it can do no better: then that throws.
    '--disallow-code-generation-from-strings',
  ]
  if (backend === 'webasm') flags.push('--no-addons')
  if (Number.parseInt(version, 10) < PERMISSION_MAJOR) return flags
  // Reads files (its own code, the arrays), and neither writes any nor starts processes or threads.
  flags.push('--permission', '--allow-fs-read=*')
  if (backend === 'webgpu') flags.push('--allow-addons')
  return flags
}

/** A process's entry: next to this file when built; from the sources (tests), the one in dist/. */
function entryOf(name: 'main' | 'probe'): string {
  const here = import.meta.url
  if (!here.endsWith('.ts')) return fileURLToPath(new URL(`./worker/${name}.js`, here))
  const entry = fileURLToPath(new URL(`../../dist/src/gpu/worker/${name}.js`, here))
  if (!existsSync(entry)) {
    throw new MeshError('ERR_MESH_INTERNAL', `${entry} is missing: run \`npm run build\` first`)
  }
  return entry
}

/** Why a machine has no GPU to compute on, and what to install: from what lies on this machine, without loading a driver. */
import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { NoGpu } from './boot.ts'

/** The least glibc that Dawn's library for Linux loads with; it wants the libstdc++ of GCC 12 too. */
const MIN_GLIBC = '2.34'
/** Platforms that the package `webgpu` has a library for. */
const PLATFORMS = [
  'linux-x64',
  'linux-arm64',
  'darwin-x64',
  'darwin-arm64',
  'win32-x64',
  'win32-arm64',
]

type Vendor = 'NVIDIA' | 'AMD' | 'Intel' | 'other'
const VENDORS: Readonly<Record<string, Vendor>> = {
  '0x10de': 'NVIDIA',
  '0x1002': 'AMD',
  '0x8086': 'Intel',
}

/** What decides whether a GPU is found, as it lies on this machine. */
export interface GpuFacts {
  /** `linux-x64` and so on. */
  readonly platform: string
  /** undefined where the C library is another one. */
  readonly glibc: string | undefined
  /** Graphics cards on the PCI bus; undefined where that cannot be seen. */
  readonly cards: readonly Vendor[] | undefined
  readonly vulkanLoader: boolean
  /** Descriptions of Vulkan drivers. */
  readonly drivers: readonly string[]
  /** Those that lie where the Vulkan loader does not look. */
  readonly hiddenDrivers: readonly string[]
  /** libEGL, which NVIDIA's driver needs also without a screen. */
  readonly egl: boolean
  /** Render nodes that are there, and whether this user may open one. */
  readonly renderNodes: 'none' | 'forbidden' | 'open'
  /** NVIDIA's kernel module is loaded. */
  readonly nvidiaModule: boolean
}

/** One sentence, for people. */
export function explainNoGpu(why: NoGpu, adapters: readonly string[]): string {
  switch (why.kind) {
    case 'library':
      return `the WebGPU library does not load: ${why.message.split('\n')[0]}`
    case 'compiler':
      return `gpu.js, which compiles kernels, does not load: ${why.message.split('\n')[0]}`
    case 'noAdapter':
      return 'no driver offers a GPU that computes'
    case 'otherName':
      return `no GPU is called ${JSON.stringify(why.wanted)}; there is ${adapters.join(', ')}`
    case 'broken':
      return `the GPU refuses to work: ${why.message.split('\n')[0]}`
  }
}

/** What to install or set, a line each; empty when nothing is known to help. */
export function adviseNoGpu(why: NoGpu, facts: GpuFacts, adapters: readonly string[]): string[] {
  switch (why.kind) {
    case 'otherName':
      return [`give --gpu-device one of: ${adapters.join(', ')}`]
    case 'library':
      return adviseLibrary(why.message, facts)
    case 'compiler':
      return ['install the packages that belong to this version again: npm install']
    case 'broken':
      return ['update the driver of the GPU, or choose another adapter with --gpu-device']
    case 'noAdapter':
      return adviseDriver(facts)
  }
}

function adviseLibrary(message: string, facts: GpuFacts): string[] {
  if (!PLATFORMS.includes(facts.platform)) {
    return [
      `the WebGPU library exists for ${PLATFORMS.join(', ')}, and this is ${facts.platform}: kernels run on the CPU here`,
    ]
  }
  if (/GLIBC|GLIBCXX/.test(message) || (facts.glibc !== undefined && isOlder(facts.glibc))) {
    return [
      `it needs glibc ${MIN_GLIBC} and the libstdc++ of GCC 12, or newer (Debian 12, Ubuntu 22.04), and this system has glibc ${facts.glibc ?? 'of an unknown version'}`,
    ]
  }
  if (facts.platform.startsWith('linux') && facts.glibc === undefined) {
    return ['it needs glibc, and this system has another C library: use an image based on Debian']
  }
  if (/Cannot find (package|module)/.test(message)) {
    return ['install the package `webgpu` that belongs to this version: npm install']
  }
  return []
}

function adviseDriver(facts: GpuFacts): string[] {
  if (!facts.platform.startsWith('linux')) {
    return ['install the newest driver of the graphics card']
  }
  if (facts.cards?.length === 0 && facts.renderNodes === 'none' && !facts.nvidiaModule) {
    return ['this machine has no graphics card that the system sees: kernels run on the CPU here']
  }
  const advice: string[] = []
  if (!facts.vulkanLoader) {
    advice.push('install the Vulkan loader: apt install libvulkan1 (Fedora: vulkan-loader)')
  }
  if (facts.renderNodes === 'forbidden') {
    advice.push(
      'let this user open the GPU: sudo usermod -aG render,video $USER, then log in again',
    )
  }
  if (facts.nvidiaModule && !facts.egl) {
    advice.push("install what NVIDIA's driver needs: apt install libegl1 libglvnd0")
  }
  if (facts.drivers.length === 0) advice.push(...adviseIcd(facts))
  if (advice.length === 0) {
    advice.push(
      'the drivers that are installed offer no device: update them, or name the right one in VK_DRIVER_FILES',
    )
  }
  return advice
}

/** No file says where a Vulkan driver is. */
function adviseIcd({ cards = [], nvidiaModule, renderNodes, hiddenDrivers }: GpuFacts): string[] {
  if (hiddenDrivers.length > 0) {
    return [`say where the driver is: VK_DRIVER_FILES=${hiddenDrivers.join(':')}`]
  }
  if (cards.includes('NVIDIA') || nvidiaModule) {
    if (!nvidiaModule) return ["install NVIDIA's driver; the system has loaded none"]
    return [
      "install the Vulkan part of NVIDIA's driver (Debian: nvidia-vulkan-icd; in a container: NVIDIA_DRIVER_CAPABILITIES=all)",
      'or say where it is: VK_DRIVER_FILES=…/nvidia_icd.json',
    ]
  }
  if (renderNodes !== 'none' || cards.length > 0) {
    return ['install the Vulkan driver: apt install mesa-vulkan-drivers']
  }
  return []
}

function isOlder(glibc: string): boolean {
  const [major = 0, minor = 0] = glibc.split('.').map(Number)
  const [minMajor = 0, minMinor = 0] = MIN_GLIBC.split('.').map(Number)
  return major < minMajor || (major === minMajor && minor < minMinor)
}

/** Looks around; never throws. */
export function gatherGpuFacts(): GpuFacts {
  const { glibcVersionRuntime } = processHeader()
  return {
    platform: `${process.platform}-${process.arch}`,
    glibc: glibcVersionRuntime,
    cards: findCards(),
    vulkanLoader: hasLibrary('libvulkan.so.1'),
    drivers: findDrivers(),
    hiddenDrivers: HIDING_PLACES.flatMap(driversIn),
    egl: hasLibrary('libEGL.so.1'),
    renderNodes: findRenderNodes(),
    nvidiaModule: existsSync('/proc/driver/nvidia/version'),
  }
}

function processHeader(): { glibcVersionRuntime?: string } {
  const { report } = process
  // Else it asks the name of each peer that this process is connected to.
  Object.assign(report, { excludeNetwork: true })
  return (report.getReport() as { header?: { glibcVersionRuntime?: string } }).header ?? {}
}

/** PCI class 0x03: display controllers; also those without a screen. */
function findCards(): Vendor[] | undefined {
  const folder = '/sys/bus/pci/devices'
  const devices = list(folder)
  if (devices === undefined) return undefined
  const read = (device: string, what: string): string => {
    try {
      return readFileSync(join(folder, device, what), 'latin1').trim()
    } catch {
      return ''
    }
  }
  return devices
    .filter((device) => read(device, 'class').startsWith('0x03'))
    .map((device) => VENDORS[read(device, 'vendor')] ?? 'other')
}

function hasLibrary(name: string): boolean {
  return libraryFolders().some((folder) => existsSync(join(folder, name)))
}

function libraryFolders(): string[] {
  const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu'
  const set = (process.env.LD_LIBRARY_PATH ?? '').split(':').filter((folder) => folder !== '')
  return [
    ...set,
    `/usr/lib/${triplet}`,
    `/lib/${triplet}`,
    '/usr/lib64',
    '/usr/lib',
    '/usr/local/lib',
  ]
}

/** Where the Vulkan loader looks for its drivers. */
function findDrivers(): string[] {
  const set = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES
  if (set !== undefined && set !== '') return set.split(':').filter((file) => existsSync(file))
  const roots = [
    '/etc',
    '/usr/share',
    '/usr/local/share',
    '/usr/local/etc',
    join(homedir(), '.local/share'),
  ]
  return roots.flatMap((root) => driversIn(join(root, 'vulkan/icd.d')))
}

/** Where container toolkits and NixOS put them. */
const HIDING_PLACES = [
  '/usr/local/nvidia/share/vulkan/icd.d',
  '/usr/lib/x86_64-linux-gnu/GL/vulkan/icd.d',
  '/run/opengl-driver/share/vulkan/icd.d',
]

function driversIn(folder: string): string[] {
  const files = list(folder) ?? []
  return files.filter((file) => file.endsWith('.json')).map((file) => join(folder, file))
}

function findRenderNodes(): GpuFacts['renderNodes'] {
  const nodes = (list('/dev/dri') ?? []).filter((name) => name.startsWith('renderD'))
  if (nodes.length === 0) return 'none'
  const mayOpen = (name: string): boolean => {
    try {
      accessSync(join('/dev/dri', name), constants.R_OK | constants.W_OK)
      return true
    } catch {
      return false
    }
  }
  return nodes.some(mayOpen) ? 'open' : 'forbidden'
}

function list(folder: string): string[] | undefined {
  try {
    return readdirSync(folder)
  } catch {
    return undefined
  }
}

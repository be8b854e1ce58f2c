/** A Vulkan driver that computes on the CPU, for tests of WebGPU where there is no GPU: SwiftShader, as a package for Chromium ships it. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { brotliDecompressSync } from 'node:zlib'

/** Where the package has it; undefined where it is not installed, or is for another machine. */
export const SWIFTSHADER = find()

function find(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  try {
    const require = createRequire(import.meta.url)
    const main = require.resolve('@sparticuz/chromium')
    for (let folder = dirname(main); folder !== dirname(folder); folder = dirname(folder)) {
      const packed = join(folder, 'bin/swiftshader.tar.br')
      if (existsSync(packed)) return packed
    }
  } catch {
    // Not installed.
  }
  return undefined
}

/** Unpacks it and points the GPU processes of this test to it. Call what it returns at the end. */
export function useSwiftShader(packed: string): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-swiftshader-'))
  const tar = brotliDecompressSync(readFileSync(packed))
  execFileSync('tar', ['-xf', '-', '-C', folder], { input: tar })
  const { LD_LIBRARY_PATH, VK_DRIVER_FILES } = process.env
  process.env.LD_LIBRARY_PATH = folder
  process.env.VK_DRIVER_FILES = join(folder, 'vk_swiftshader_icd.json')
  return () => {
    restore('LD_LIBRARY_PATH', LD_LIBRARY_PATH)
    restore('VK_DRIVER_FILES', VK_DRIVER_FILES)
    rmSync(folder, { recursive: true, force: true })
  }
}

function restore(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name]
  else process.env[name] = value
}

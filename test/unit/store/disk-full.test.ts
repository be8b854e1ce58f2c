import { spawn, spawnSync } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildScript, removeScript } from './child.ts'
import { tempDir } from './fixtures.ts'

/** A mount of one's own needs root, or a system that lets users have namespaces. */
const canMount =
  spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', tmpdir()], { stdio: 'ignore' })
    .status === 0

describe.runIf(canMount)('a file system that is full', () => {
  let script: string
  beforeAll(async () => {
    script = await buildScript('full-script')
  })
  afterAll(() => removeScript(script))

  /** Runs commands in a mount namespace with a file system of 16 MiB at $1; it is gone with them. */
  async function run(steps: (node: string) => string): Promise<{ code: number; output: string }> {
    const dir = await tempDir()
    const mount = join(dir, 'small')
    await mkdir(mount)
    const node = `'${process.execPath}' '${script}' '${mount}'`
    const log = `'${join(dir, 'log')}'`
    const command = `mount -t tmpfs -o size=16m none '${mount}' && ${steps(`${node} ROOM ${log}`)}`
    const child = spawn('unshare', ['-rm', 'sh', '-c', command], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data) => {
        output += data
      })
    }
    const code = await new Promise<number>((resolve) => child.once('exit', (c) => resolve(c ?? -1)))
    return { code, output }
  }

  // Different room left: the log, a table or the manifest is what meets the end first.
  const rooms = [0, 50_000, 200_000, 500_000]

  it.each(rooms)(
    'is waited for, and the store goes on by itself (%d bytes left)',
    async (room) => {
      const { code, output } = await run((node) => `${node.replace('ROOM', `${room}`)} mend`)
      expect(output).toBe('done\n')
      expect(code).toBe(0)
    },
    60_000,
  )

  it.each(rooms)(
    'loses nothing acknowledged to a kill (%d bytes left)',
    async (room) => {
      const { code, output } = await run((node) => {
        const command = node.replace('ROOM', `${room}`)
        return `{ ${command} kill; ${command} check; }`
      })
      expect(output.replace(/^.*Killed.*\n/m, '')).toBe('done\n')
      expect(code).toBe(0)
    },
    60_000,
  )
})

describe.runIf(!canMount)('a file system that is full', () => {
  it.skip('needs a mount namespace: not tried here', () => {})
})

import { spawnSync } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lockFolder } from '../../../src/store/folder-lock.ts'
import { isReadOnly } from '../../../src/store/fs-errors.ts'
import { loadOrCreateIdentity } from '../../../src/store/identity.ts'
import { buildScript, removeScript } from './child.ts'
import { openAgain } from './damage.ts'
import { tempDir } from './fixtures.ts'

/** Root may write anywhere but on a read-only mount. */
const remount = (dir: string): string =>
  `mount --bind '${dir}' '${dir}' && mount -o remount,bind,ro '${dir}'`
const canMount =
  spawnSync('unshare', ['-rm', 'sh', '-c', remount(tmpdir())], { stdio: 'ignore' }).status === 0

describe.runIf(canMount)('a data folder that may not be written', () => {
  let script: string
  beforeAll(async () => {
    script = await buildScript('read-only-script')
  })
  afterAll(() => removeScript(script))

  it('is called that, by each who needs it, and is left as it was', async () => {
    const dir = await tempDir()
    const lock = await lockFolder(dir)
    await loadOrCreateIdentity(dir)
    await (await openAgain(dir)).close()
    await lock.release()
    const files = async (): Promise<string[]> => (await readdir(join(dir, 'db'))).sort()
    const before = await files()
    const command = `${remount(dir)} && exec '${process.execPath}' '${script}' '${dir}'`
    const { stdout } = spawnSync('unshare', ['-rm', 'sh', '-c', command], { encoding: 'utf8' })
    const lines = stdout.trim().split('\n')
    expect(lines.map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual([
      'lock: ERR_MESH_FOLDER_READ_ONLY',
      'identity: ERR_MESH_FOLDER_READ_ONLY',
      'store: ERR_MESH_FOLDER_READ_ONLY',
    ])
    for (const line of lines) expect(line).toMatch(/cannot be written.*--data DIR/)
    expect(await files()).toEqual(before)
    expect((await openAgain(dir)).repair).toBeUndefined()
  })
})

describe.runIf(!canMount)('a data folder that may not be written', () => {
  it.skip('needs a mount namespace: not tried here', () => {})
})

it('is known from Node.js and from LevelDB', () => {
  const cause = new Error('IO error: /d/LOCK: Read-only file system')
  expect(isReadOnly(Object.assign(new Error('x'), { code: 'EROFS' }))).toBe(true)
  expect(isReadOnly(new Error('Database failed to open', { cause }))).toBe(true)
  expect(isReadOnly(new Error('IO error: /d/LOCK: Permission denied'))).toBe(true)
  expect(isReadOnly(new Error('IO error: no space left on device'))).toBe(false)
})

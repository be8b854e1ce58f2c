import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type FolderLock, lockFolder, readLock } from '../../../src/store/folder-lock.ts'
import { buildScript, type Child, removeScript, startChild } from './child.ts'
import { tempDir } from './fixtures.ts'

let script: string
beforeAll(async () => {
  script = await buildScript('lock-script')
})
afterAll(() => removeScript(script))

async function lock(dir: string): Promise<FolderLock> {
  const held = await lockFolder(dir)
  onTestFinished(() => held.release())
  return held
}

async function answer(child: Child): Promise<Record<string, unknown>> {
  return JSON.parse((await child.line())!) as Record<string, unknown>
}

async function lockedChild(dir: string): Promise<Child> {
  const child = startChild(script, dir)
  expect(await answer(child)).toMatchObject({ locked: { pid: child.pid, role: 'mesh join' } })
  return child
}

const failure = (dir: string): Promise<unknown> => lock(dir).catch((error: unknown) => error)

describe('a locked folder', () => {
  it('is refused to another process, which learns who has it and what to do', async () => {
    const dir = await tempDir()
    const child = await lockedChild(dir)
    child.send('socket /run/mesh.sock')
    await child.line()
    const error = await failure(dir)
    expect(error).toMatchObject({
      code: 'ERR_MESH_FOLDER_LOCKED',
      details: { dir, pid: child.pid, role: 'mesh join', socket: '/run/mesh.sock' },
    })
    const message = String(error)
    const { startedAt } = (await readLock(dir))!
    for (const part of [dir, `process ${child.pid}`, '"mesh join"', startedAt, '/run/mesh.sock']) {
      expect(message).toContain(part)
    }
    expect(message).toContain(`mesh leave --data ${dir}`)
  })

  it('is refused from the other side too', async () => {
    const dir = await tempDir()
    const held = await lock(dir)
    const second = startChild(script, dir)
    const refusal = await answer(second)
    expect(refusal).toMatchObject({ code: 'ERR_MESH_FOLDER_LOCKED' })
    expect(refusal.message).toContain(`process ${process.pid}`)
    await held.release()
    await lockedChild(dir)
  })

  it('is refused to a second opener in this process, and stays locked', async () => {
    const dir = await tempDir()
    const held = await lock(dir)
    expect(await failure(dir)).toMatchObject({ code: 'ERR_MESH_FOLDER_LOCKED' })
    expect(String(await failure(join(dir, '.')))).toContain('in this process')
    expect(await answer(startChild(script, dir))).toMatchObject({ code: 'ERR_MESH_FOLDER_LOCKED' })
    await held.release()
    await lock(dir)
  })

  it('is free once its process was killed', async () => {
    const dir = await tempDir()
    const child = await lockedChild(dir)
    expect(await readLock(dir)).toMatchObject({ pid: child.pid, alive: true })
    await child.kill()
    expect(await readLock(dir)).toMatchObject({ pid: child.pid, alive: false })
    const held = await lock(dir)
    expect(held.owner.pid).toBe(process.pid)
    expect(await readLock(dir)).toMatchObject({ pid: process.pid, alive: true })
  })

  it('goes to exactly one of many who want a dead one’s', async () => {
    const dir = await tempDir()
    await (await lockedChild(dir)).kill()
    const children = Array.from({ length: 6 }, () => startChild(script, dir))
    const answers = await Promise.all(children.map(answer))
    const winners = answers.filter((each) => each.locked !== undefined)
    expect(winners).toHaveLength(1)
    const winner = children[answers.indexOf(winners[0]!)]!
    for (const each of answers) {
      if (each !== winners[0]) expect(each.message).toContain(`process ${winner.pid}`)
    }
  })

  it('does not believe in a reused pid', async () => {
    const dir = await tempDir()
    await (await lockedChild(dir)).kill()
    const path = join(dir, 'peer.json')
    const left = JSON.parse(await readFile(path, 'utf8')) as object
    // A process that runs now, but started at another time.
    await writeFile(path, JSON.stringify({ ...left, pid: process.pid }))
    if (process.platform === 'linux') {
      expect(await readLock(dir)).toMatchObject({ pid: process.pid, alive: false })
    }
    await lock(dir)
  })

  it('is free after release, and nobody is named', async () => {
    const dir = await tempDir()
    const child = await lockedChild(dir)
    child.send('release')
    await child.line()
    expect(await readLock(dir)).toBeUndefined()
    const held = await lock(dir)
    await held.release()
    await held.release()
    await held.update({ socket: 'late' })
    expect(await readLock(dir)).toBeUndefined()
  })

  it('tells more about its owner as it comes', async () => {
    const dir = join(await tempDir(), 'made', 'here')
    const held = await lock(dir)
    await Promise.all([held.update({ socket: 'a' }), held.update({ socket: 'b' })])
    expect(await readLock(dir)).toMatchObject({ socket: 'b', alive: true })
    expect(held.owner.socket).toBe('b')
    expect((await stat(dir)).mode & 0o077).toBe(0)
    expect((await stat(join(dir, 'peer.json'))).mode & 0o077).toBe(0)
  })

  it('opens when what it left is damaged', async () => {
    const dir = await tempDir()
    const first = await lock(dir)
    await first.release()
    await writeFile(join(dir, 'lock', 'CURRENT'), 'garbage')
    await writeFile(join(dir, 'peer.json'), '{"pid": "x"')
    expect(await readLock(dir)).toBeUndefined()
    await lock(dir)
    expect(await readLock(dir)).toMatchObject({ pid: process.pid })
  })
})

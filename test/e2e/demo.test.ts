import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PNG } from 'pngjs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { printed, ROOT, Scene } from './lib/processes.ts'

/** True while a process of that id lives. */
function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const pidsIn = (text: string): number[] =>
  [...text.matchAll(/^ {2}(?:ant|bee|cat) {2}process (\d+)$/gm)].map((match) => Number(match[1]))

describe('npm run demo', () => {
  let scene: Scene
  let temporary: string
  beforeAll(() => {
    scene = new Scene()
    temporary = scene.path('tmp')
    mkdirSync(temporary)
  })
  afterAll(() => scene.end())

  const start = () =>
    scene.start(process.execPath, [join(ROOT, 'dist', 'examples', 'demo.js')], {
      env: { TMPDIR: temporary, TMP: temporary, TEMP: temporary },
    })

  it('counts exactly, paints, says who did what, and leaves only the picture', async () => {
    const child = start()
    let text = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    const [code] = await once(child, 'close')
    expect(code, text).toBe(0)
    expect(text).toContain('50 847 534 primes: exact.')
    expect(text).toMatch(
      /1 000 000 items in [\d.]+ s: [\d ]+ items\/s, [\d ]+ chunks, \d+ steals, \d+ log entries/,
    )
    const pids = pidsIn(text)
    expect(pids).toHaveLength(3)
    expect(pids.filter(alive)).toEqual([])

    const [folder, ...others] = readdirSync(temporary)
    expect(others).toEqual([])
    expect(readdirSync(join(temporary, folder!))).toEqual(['raytrace.png'])
    const path = join(temporary, folder!, 'raytrace.png')
    expect(text).toContain(path)
    expect(PNG.sync.read(readFileSync(path))).toMatchObject({ width: 960, height: 540 })
  }, 120_000)

  it('ends its peers and removes its folder on Ctrl-C', async () => {
    const before = readdirSync(temporary)
    const child = start()
    const closed = once(child, 'close')
    const pids: number[] = []
    let text = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      pids.splice(0, pids.length, ...pidsIn(text))
    })
    await printed(child, /^ {2}[\d ]+ of 1 000 000 items/m)
    child.kill('SIGINT')
    expect(await closed).toEqual([1, null])
    expect(pids).toHaveLength(3)
    expect(pids.filter(alive)).toEqual([])
    expect(readdirSync(temporary)).toEqual(before)
  }, 60_000)
})

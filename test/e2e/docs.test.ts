import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { transform } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ROOT, Scene } from './lib/processes.ts'

interface Block {
  /** Fence's info string: `ts run`, `ts file=NAME`, `text output`, or a language alone. */
  readonly info: string
  readonly text: string
  readonly line: number
}

function blocksOf(page: string): Block[] {
  const text = readFileSync(join(ROOT, page), 'utf8')
  return [...text.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)].map((match) => ({
    info: match[1]!.trim(),
    text: match[2]!,
    line: text.slice(0, match.index).split('\n').length,
  }))
}

/** A package `meshwork` that is the built one, kept on loopback and to two cores. */
const SHIM = `
import * as meshwork from '${pathToFileURL(join(ROOT, 'dist', 'src', 'index.js'))}'
export * from '${pathToFileURL(join(ROOT, 'dist', 'src', 'index.js'))}'
export const joinMesh = (options) =>
  meshwork.joinMesh({ mdns: false, listen: ['/ip4/127.0.0.1/tcp/0'], cores: 2, ...options })
`

const PAGES = ['docs/library.md', 'README.md']

describe.each(PAGES)('the code on %s', (page) => {
  const blocks = blocksOf(page)
  const runs = blocks.flatMap((block, i) =>
    block.info === 'ts run' ? [{ ...block, output: blocks[i + 1] }] : [],
  )
  let scene: Scene

  beforeAll(async () => {
    scene = new Scene()
    const shim = scene.path('node_modules/meshwork')
    mkdirSync(shim, { recursive: true })
    writeFileSync(join(shim, 'index.js'), SHIM)
    writeFileSync(
      join(shim, 'package.json'),
      JSON.stringify({ name: 'meshwork', type: 'module', exports: './index.js' }),
    )
    writeFileSync(scene.path('package.json'), '{"type":"module"}')
    for (const { info, text } of blocks) {
      const file = /^ts file=(\S+)$/.exec(info)?.[1]
      if (file === undefined) continue
      writeFileSync(scene.path(file), text)
      // For the block that imports it: Node 20 runs no TypeScript.
      const { code } = await transform(text, { loader: 'ts' })
      writeFileSync(scene.path(file.replace(/\.ts$/, '.js')), code)
    }
  })
  afterAll(() => scene.end())

  it('has something to run', () => {
    expect(runs.length).toBeGreaterThan(0)
  })

  it.each(runs)('line $line prints what stands below it', async ({ text, line, output }) => {
    expect(output?.info, 'a `ts run` block is followed by its `text output`').toBe('text output')
    const { code } = await transform(text, { loader: 'ts' })
    const file = scene.path(`block-${line}.js`)
    writeFileSync(file, code.replaceAll(/from "\.\/(\w+)\.ts"/g, 'from "./$1.js"'))
    const run = await scene.node(file, [])
    expect(run.code, run.stderr).toBe(0)
    expect(stripVTControlCharacters(run.stdout)).toBe(output!.text)
  })
})

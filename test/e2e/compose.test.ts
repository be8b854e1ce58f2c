import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DARTS, hits } from '../../examples/compose/chord.ts'
import { LOOPBACK, MESH, ROOT, Scene } from './lib/processes.ts'

const example = (name: string) => join(ROOT, 'examples', 'compose', `${name}.ts`)

function pi(): number {
  let sum = 0
  for (let seed = 0; seed < 64; seed++) sum += hits(seed)
  return (4 * sum) / (64 * DARTS)
}

/** The same words, found without a regular expression of letters. */
function wordsOf(text: string): Map<string, number> {
  const counts = new Map<string, number>()
  for (const word of text.toLowerCase().split(/[^\p{L}]+/u)) {
    if (word !== '') counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  return counts
}

describe('compositions, submitted by the command', () => {
  let scene: Scene
  let peer: string[]
  beforeAll(() => {
    scene = new Scene()
    peer = ['--data', scene.path('data'), '--cores', '2', '--no-mdns']
  })
  afterAll(() => scene.end())

  async function submit(...args: string[]): Promise<{ lines: unknown[]; stderr: string }> {
    const { code, stdout, stderr } = await scene.node(MESH, ['submit', ...args, ...peer])
    expect(code, stderr).toBe(0)
    const lines = stdout.trimEnd().split('\n')
    return { lines: lines.map((line) => JSON.parse(line)), stderr }
  }

  it('a chord gives one value, as one line', async () => {
    const { lines, stderr } = await submit(example('chord'))
    expect(lines).toEqual([pi()])
    expect(stderr).toContain('submitted')
  })

  it('a function gives the composition for --args; what failed is left out', async () => {
    const total = Math.round((44.63 + 49.98 + 213.96) * 100) / 100
    expect((await submit(example('pipeline'), '--args', '{"tax":19}')).lines).toEqual([
      { orders: 3, total },
    ])
  })

  it('a diamond', async () => {
    const values = Array.from({ length: 10_000 }, (_, i) => ((i * 7919) % 1009) / 10)
    const [{ mean, spread, outliers }] = (await submit(example('dag'))).lines as [
      Record<string, number>,
    ]
    expect(mean).toBeCloseTo(values.reduce((sum, value) => sum + value, 0) / 10_000, 6)
    const far = values.filter((value) => Math.abs(value - mean!) > 1.7 * spread!)
    expect(outliers).toBe(far.length)
    expect(far.length).toBeGreaterThan(0)
  })

  it('a reduce over the lines of a file, read again by the id alone', async () => {
    const file = join(ROOT, 'README.md')
    const { lines } = await submit(example('word-count'), '--args', JSON.stringify({ file }))
    const expected = wordsOf(readFileSync(file, 'utf8'))
    expect(lines).toEqual([Object.fromEntries(expected)])
    const again = await scene.node(MESH, ['results', 'last', ...peer.slice(0, 2), '--cores', '0'])
    expect(again.code, again.stderr).toBe(0)
    expect(JSON.parse(again.stdout)).toEqual(lines[0])
  })

  it('a list gives a line for each of its elements; --json and --out have the value', async () => {
    const file = scene.path('lists.ts')
    writeFileSync(
      file,
      `import { chain, chunks, defineTask, group, map } from 'meshwork'
const ten = defineTask({ name: 'ten', run: (x: number) => 10 * x })
export default (kind: string) =>
  kind === 'group' ? group(map(ten, [1, 2]), ten.s(3)) : kind === 'chunks' ? chunks(ten, [1, 2, 3], 2) : chain(map(ten, [1, 2]), ten)
`,
    )
    expect((await submit(file, '--args', '"chain"')).lines).toEqual([100, 200])
    expect((await submit(file, '--args', '"group"')).lines).toEqual([[10, 20], 30])
    const out = scene.path('out.ndjson')
    await scene.node(MESH, ['submit', file, '--args', '"chunks"', '--out', out, ...peer])
    expect(readFileSync(out, 'utf8')).toBe('[10,20]\n[30]\n')
    const [document] = (await submit(file, '--args', '"group"', '--json')).lines
    expect(document).toMatchObject({ value: [[10, 20], 30], state: 'finished', failed: 0 })
  })

  it('what fails is told with its task and item, by an exit code of 1', async () => {
    const file = scene.path('failing.ts')
    writeFileSync(
      file,
      `import { chord, defineTask, map } from 'meshwork'
const picky = defineTask({ name: 'picky', run(x: number) { if (x === 3) throw new Error('no three'); return x } })
export default chord(map(picky, { range: [0, 5] }), (xs: number[]) => xs.length)
`,
    )
    const { code, stdout, stderr } = await scene.node(MESH, ['submit', file, ...peer])
    expect(code).toBe(1)
    expect(stdout).toBe('')
    expect(stderr).toContain('item 3 of picky failed: Error: no three')
  })

  it.each([
    ['throws', 'export default () => { chain; throw new Error("not today") }', 'not today'],
    ['gives no composition', 'export default () => [chain(t.s(1))]', 'no composition'],
    [
      'fails at its top level',
      'throw new Error("at the top")\nexport default t.s(1)',
      'at the top',
    ],
    ['composes wrongly', 'export default chain(t.s(1), map(t, [1]))', 'first link'],
  ])('a file that %s says so', async (what, text, expected) => {
    const file = scene.path(`wrong-${what.replaceAll(' ', '-')}.ts`)
    writeFileSync(
      file,
      `import { chain, defineTask, map } from 'meshwork'\nconst t = defineTask({ name: 't', run: (x: number) => map && chain && x })\n${text}\n`,
    )
    const { code, stderr } = await scene.node(MESH, ['submit', file, ...peer])
    expect(stderr).toContain(expected)
    expect(code).toBe(2)
  })

  it('items are not for a composition', async () => {
    const { code, stderr } = await scene.node(MESH, [
      ...['submit', example('chord'), '--range', '0..3'],
      ...peer,
    ])
    expect(stderr).toContain('is a composition')
    expect(code).toBe(2)
  })

  it('the same from code', async () => {
    const file = join(ROOT, 'dist', 'examples', 'compose', 'run.js')
    const data = ['--data', scene.path('from-code'), '--cores', '2', ...LOOPBACK]
    const { code, stdout, stderr } = await scene.node(file, data)
    expect(code, stderr).toBe(0)
    const [first, second] = stdout.split('\n')
    expect(first).toBe(String(pi()))
    expect(second).toBe('{ orders: 3, total: 308.57 }')
    const times = wordsOf(readFileSync(file, 'utf8')).get('mesh')
    expect(stdout).toContain(`"mesh" stands ${times} times in this file`)
  })
})

import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { PNG } from 'pngjs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { assemble } from '../../examples/raytrace/png.ts'
import { type Picture, renderTile, tileCount } from '../../examples/raytrace/tracer.ts'
import { LOOPBACK, MESH, ROOT, Scene } from './lib/processes.ts'

const words = createRequire(import.meta.url)('an-array-of-english-words') as string[]
const picture: Picture = { width: 960, height: 540, samples: 9, tile: 36 }

/** The nonces by a plain loop, with another test for the zero bits than the example's. */
function noncesByLoop(limit: number, bits: number): number[] {
  const found: number[] = []
  for (let nonce = 0; nonce < limit; nonce++) {
    const digest = createHash('sha256').update(`meshwork:${nonce}`).digest('hex')
    if (BigInt(`0x${digest}`) >> BigInt(256 - bits) === 0n) found.push(nonce)
  }
  return found
}

/** Anagram classes of at least two words, by letter counts rather than by sorted letters. */
function anagramsByCounting(): string[][] {
  const classes = new Map<string, string[]>()
  for (const word of words) {
    const counts = new Array<number>(26).fill(0)
    for (const letter of word) counts[letter.charCodeAt(0) - 97]!++
    const key = counts.join()
    const members = classes.get(key)
    if (members === undefined) classes.set(key, [word])
    else members.push(word)
  }
  return [...classes.values()].filter((members) => members.length > 1)
}

function occurrences(letter: string): number {
  return words.reduce((sum, word) => sum + word.split(letter).length - 1, 0)
}

describe('each example, run from code on this machine alone', () => {
  let scene: Scene
  beforeAll(() => {
    scene = new Scene()
  })
  afterAll(() => scene.end())

  async function runExample(name: string): Promise<string> {
    const args = ['--data', scene.path(`data-${name}`), '--cores', '2', ...LOOPBACK]
    const run = await scene.node(join(ROOT, 'dist', 'examples', name, 'run.js'), args)
    expect(run.code, run.stderr).toBe(0)
    return run.stdout
  }

  it('primes: pi(10^7) = 664 579', async () => {
    expect(await runExample('primes')).toBe('664579 primes below 10000000\n')
  })

  it('hash-search: the same nonces as a plain loop', async () => {
    const expected = noncesByLoop(500_000, 16)
    expect(expected.length).toBeGreaterThan(0)
    expect(await runExample('hash-search')).toBe(`${expected.join(' ')}\n`)
  })

  it('wordstats: letters, longest words and anagrams of the whole list', async () => {
    const report = JSON.parse(await runExample('wordstats'))
    const anagrams = anagramsByCounting()
    const largest = Math.max(...anagrams.map((members) => members.length))
    const longest = words.reduce((most, word) => Math.max(most, word.length), 0)
    expect(report.words).toBe(words.length)
    expect(report.letters.e).toBe(occurrences('e'))
    expect(report.letters.q).toBe(occurrences('q'))
    expect(report.vowels).toBe(['a', 'e', 'i', 'o', 'u'].reduce((n, v) => n + occurrences(v), 0))
    expect(report.longest).toEqual(words.filter((word) => word.length === longest))
    expect(report.anagramClasses).toBe(anagrams.length)
    expect(report.largestClasses).toEqual(
      anagrams
        .filter((members) => members.length === largest)
        .map((members) => [...members].sort())
        .sort(),
    )
  })

  it('raytrace: the PNG is the picture that a plain loop paints, pixel by pixel', async () => {
    const path = (await runExample('raytrace')).trim()
    const png = PNG.sync.read(readFileSync(path))
    // Other tiles than the job's: a pixel does not depend on how the picture is cut.
    const plain = { ...picture, tile: 180 }
    const tiles = Array.from({ length: tileCount(plain) }, (_, i) => renderTile(plain, i))
    expect([png.width, png.height]).toEqual([picture.width, picture.height])
    expect(png.data.equals(assemble(plain, tiles))).toBe(true)
  })
})

describe('each example, submitted by the command from a third folder to two joined peers', () => {
  let scene: Scene
  let ticket: string
  beforeAll(async () => {
    scene = new Scene()
    const first = await scene.join('first')
    ticket = first.ticket
    await scene.join('second', ticket)
  })
  afterAll(() => scene.end())

  async function submit(example: string, ...args: string[]): Promise<unknown[]> {
    const task = join(ROOT, 'examples', example, 'task.ts')
    const mesh = ['--ticket', ticket, '--data', scene.path('third'), '--cores', '0', '--no-mdns']
    const run = await scene.node(MESH, ['submit', task, ...args, ...mesh])
    expect(run.code, run.stderr).toBe(0)
    return run.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
  }

  it('primes', async () => {
    const counts = (await submit('primes', '--range', '0..2000')) as number[]
    expect(counts).toHaveLength(2000)
    expect(counts.slice(0, 3)).toEqual([168, 135, 127])
    expect(counts.reduce((sum, n) => sum + n, 0)).toBe(148_933)
  })

  it('hash-search', async () => {
    const args = JSON.stringify({ bits: 12, block: 100 })
    const found = (await submit('hash-search', '--range', '0..1000', '--args', args)) as number[][]
    expect(found.flat()).toEqual(noncesByLoop(100_000, 12))
  })

  it('wordstats', async () => {
    const sample = words.filter((_, i) => i % 10 === 0)
    writeFileSync(scene.path('words.txt'), `${sample.join('\n')}\n`)
    const stats = await submit('wordstats', '--lines', scene.path('words.txt'))
    expect(stats).toEqual(
      sample.map((word) => ({
        letters: Array.from(word).sort().join(''),
        vowels: word.replace(/[^aeiou]/g, '').length,
        palindrome: word === word.split('').reverse().join(''),
      })),
    )
  })

  it('raytrace', async () => {
    const small: Picture = { width: 160, height: 90, samples: 4, tile: 32 }
    const range = `0..${tileCount(small)}`
    const tiles = await submit('raytrace', '--range', range, '--args', JSON.stringify(small))
    const expected = Array.from({ length: tileCount(small) }, (_, i) => renderTile(small, i))
    expect(tiles).toEqual(expected.map((pixels) => Buffer.from(pixels).toString('base64')))
  })
})

import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { kernelOf, specOf } from '../../../src/client/kernel.ts'
import {
  MAX_ARGS,
  MAX_ARRAY_ELEMENTS,
  MAX_AXIS,
  MAX_CONSTANTS,
  MAX_DEPTH,
  MAX_LOOP_ITERATIONS,
  MAX_OUTPUT_ELEMENTS,
  MAX_SOURCE_CHARS,
} from '../../../src/gpu/kernel-limits.ts'
import { MATH_CONSTANTS, MATH_FUNCTIONS } from '../../../src/gpu/kernel-words.ts'

const page = readFileSync(new URL('../../../docs/kernels.md', import.meta.url), 'utf8')
const spaced = (number: number) => String(number).replace(/\B(?=(\d{3})+$)/g, ' ')

it('docs/kernels.md lists the functions and numbers of Math that there are', () => {
  const rows = [...page.matchAll(/^\| `Math\.(?:f\(…\)|C)` \| ([\w\s]+?)(?:;.*)? \|$/gm)]
  const words = rows.map(([, list]) => list!.trim().split(' '))
  expect(words).toEqual([[...MATH_FUNCTIONS.keys()].sort(), [...MATH_CONSTANTS]])
})

it('docs/kernels.md names the limits that there are', () => {
  const limits = [MAX_SOURCE_CHARS, MAX_AXIS, MAX_OUTPUT_ELEMENTS, MAX_LOOP_ITERATIONS]
  for (const limit of limits) expect(page).toContain(spaced(limit))
  expect(page).toContain(`| elements of one array | ${spaced(MAX_ARRAY_ELEMENTS)}`)
  expect(page).toContain(`| arguments | ${MAX_ARGS};`)
  expect(page).toContain(`| constants | ${MAX_CONSTANTS} |`)
  expect(page).toContain(`characters, ${MAX_DEPTH} deep`)
})

it('the kernels of docs/kernels.md are kernels', async () => {
  const blocks = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, text]) => text!)
  const folder = await mkdtemp(join(tmpdir(), 'mesh-docs-kernels-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const names: string[] = []
  for (const [i, text] of blocks.entries()) {
    const path = join(folder, `${i}.ts`)
    await writeFile(path, text)
    const kernel = await kernelOf(path)
    names.push(specOf(kernel!, undefined).spec.name)
  }
  expect(names).toEqual(['matrix product', 'row means'])
})

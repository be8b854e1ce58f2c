import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '..', '..', '..')
const source = readFileSync(join(root, 'src/base/errors.ts'), 'utf8')
const page = readFileSync(join(root, 'docs/errors.md'), 'utf8')
const codes = [...source.matchAll(/\| '(ERR_MESH_\w+)'/g)].map((match) => match[1]!)
const rows = [...page.matchAll(/^\| `(ERR_MESH_\w+)` \| (.+) \| (.+) \|$/gm)]

it('docs/errors.md explains every code of src/base/errors.ts, and no other, once', () => {
  expect(codes.length).toBeGreaterThan(30)
  expect(rows.map((row) => row[1]).sort()).toEqual([...codes].sort())
})

it('each row says what the code means and what to do', () => {
  for (const [, code, meaning, remedy] of rows) {
    expect(meaning!.trim().length, code).toBeGreaterThan(20)
    expect(remedy!.trim().length, code).toBeGreaterThan(10)
  }
})

it('no page of the docs names a code that does not exist', () => {
  const pages = [
    'architecture',
    'library',
    'protocol',
    'operations',
    'security',
    'failure-handling',
  ]
  for (const name of pages) {
    const text = readFileSync(join(root, `docs/${name}.md`), 'utf8')
    for (const [code] of text.matchAll(/ERR_MESH_\w*[A-Z]/g)) expect(codes, name).toContain(code)
  }
})

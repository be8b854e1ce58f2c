import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const scripts = join(import.meta.dirname, '..', '..', '..', 'scripts')
// The scripts are plain JavaScript without declarations: their paths are computed, so that tsc does not look for any.
const load = (script: string): Promise<Record<string, unknown>> =>
  import(pathToFileURL(join(scripts, script)).href)
const { checkImports } = (await load('check-imports.mjs')) as {
  checkImports: (root: string) => string[]
}
const { checkDocs } = (await load('check-docs.mjs')) as { checkDocs: (root: string) => string[] }

interface Locked {
  readonly packages: Record<string, unknown>
  readonly added: readonly string[]
}
const { complete } = (await load('complete-lock.mjs')) as {
  complete: (packages: Record<string, object>) => Locked
}

let root: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'meshwork-checks-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}

function run(script: string, ...args: string[]): { status: number | null; output: string } {
  const child = spawnSync(process.execPath, [join(scripts, script), ...args], { encoding: 'utf8' })
  return { status: child.status, output: child.stdout + child.stderr }
}

describe('check-imports', () => {
  it.each([
    ['a room that looks up', 'src/store/a.ts', "import '../node/b.ts'", 'src/store may import'],
    [
      'the scheduler outside itself',
      'src/scheduler/a.ts',
      "import '../base/b.ts'",
      'nothing of ours',
    ],
    ['the scheduler and node:', 'src/scheduler/a.ts', "import 'node:fs'", 'imports no package'],
    ['the scheduler and a clock', 'src/scheduler/a.ts', 'const t = Date.now()', 'no Date'],
    ['the scheduler and chance', 'src/scheduler/a.ts', 'const r = Math.random()', 'no Math.random'],
    ['the scheduler and a timer', 'src/scheduler/a.ts', 'setTimeout(f, 1)', 'no setTimeout'],
    ['the scheduler and Promise', 'src/scheduler/a.ts', 'let p: Promise<void>', 'no Promise'],
    ['the scheduler and async', 'src/scheduler/a.ts', 'async function f() {}', 'no async/await'],
    [
      'libp2p elsewhere',
      'src/node/a.ts',
      "import { x } from '@libp2p/tcp'",
      'only src/node/transport',
    ],
    [
      'a value where only types go',
      'src/client/a.ts',
      "import { x } from '../scheduler/b.ts'",
      'only types',
    ],
    [
      'an example that looks inside',
      'examples/a.ts',
      "import '../src/index.ts'",
      'nothing of ours',
    ],
    ['a lazy import', 'src/store/a.ts', "const m = import('../node/b.ts')", 'src/store may import'],
  ])('refuses %s', (_, file, text, message) => {
    write(file, text)
    const [problem, ...others] = checkImports(root)
    expect(problem).toContain(message)
    expect(problem).toContain(`${file}:1`)
    expect(others).toEqual([])
  })

  it('refuses a cycle, but not one of types', () => {
    write('src/base/a.ts', "import './b.ts'")
    write('src/base/b.ts', "import './a.ts'")
    expect(checkImports(root)).toEqual([
      'src/base/a.ts imports itself: src/base/a.ts -> src/base/b.ts -> src/base/a.ts',
    ])
    write('src/base/b.ts', "import type { A } from './a.ts'")
    expect(checkImports(root)).toEqual([])
  })

  it('lets a room take types where it may not take values, and a member be called random', () => {
    write('src/client/a.ts', "import type { x } from '../scheduler/b.ts'")
    write('src/scheduler/b.ts', 'export const x = (config) => config.random() + config.Date')
    expect(checkImports(root)).toEqual([])
  })
})

describe('check-docs', () => {
  beforeEach(() => {
    write('package.json', '{"scripts":{"demo":"x"}}')
    write('docs/a.md', '# A page\n')
  })

  it.each([
    ['a file that is not there', '[x](docs/b.md)', 'no such file: docs/b.md'],
    ['a heading that is not there', '[x](docs/a.md#b)', 'no such heading: docs/a.md#b'],
    ['a script that is not there', 'npm run nothing', 'no script nothing'],
    ['a program that is not built', 'node dist/nothing.js', 'dist/nothing.js'],
  ])('refuses %s', (_, text, message) => {
    write('README.md', text)
    const [problem, ...others] = checkDocs(root)
    expect(problem).toContain(message)
    expect(others).toEqual([])
  })

  it('accepts what is there, and does not look for links in code', () => {
    write('README.md', '[x](docs/a.md#a-page) `npm run demo` `a[0](b)`\n```\n[x](nothing)\n```\n')
    expect(checkDocs(root)).toEqual([])
  })
})

describe('complete-lock', () => {
  it('adds what is missing for other platforms, and nothing else', () => {
    const optionalDependencies = { 'x-linux-x64': '1.0.0', 'x-linux-arm64-musl': '1.0.0' }
    const locked = {
      '': {},
      'node_modules/x': { version: '1.0.0', dev: true, optionalDependencies },
      'node_modules/x/node_modules/x-linux-x64': { version: '1.0.0' },
    }
    const { packages, added } = complete(locked)
    expect(added).toEqual(['node_modules/x-linux-arm64-musl'])
    expect(packages).toEqual({
      ...locked,
      'node_modules/x-linux-arm64-musl': {
        version: '1.0.0',
        cpu: ['arm64'],
        dev: true,
        libc: ['musl'],
        optional: true,
        os: ['linux'],
      },
    })
    expect(complete(packages as Record<string, object>).added).toEqual([])
  })

  it('refuses to guess what is no build for a platform', () => {
    const locked = { 'node_modules/x': { optionalDependencies: { bufferutil: '^4.0.0' } } }
    expect(() => complete(locked)).toThrow('bufferutil@^4.0.0')
  })
})

describe('adding up', () => {
  const report = (passed: number, failed: number, unloaded = 0) =>
    JSON.stringify({
      numPassedTests: passed,
      numFailedTests: failed,
      testResults: [
        { name: 'a', status: 'passed', assertionResults: [] },
        ...Array.from({ length: failed }, () => ({
          name: 'b',
          status: 'failed',
          assertionResults: [{ status: 'failed', fullName: 'b fails' }],
        })),
        ...Array.from({ length: unloaded }, () => ({
          name: 'c',
          status: 'failed',
          assertionResults: [],
        })),
      ],
    })

  function addUp(files: Record<string, string>): { status: number | null; last: string } {
    for (const [name, text] of Object.entries(files)) write(name, text)
    const { status, output } = run('ci/add-up.mjs', root)
    return { status, last: output.trimEnd().split('\n').at(-1)! }
  }

  it('sums suites and checks', () => {
    const files = { 'x.json': report(10, 0), 'x.status': '0', checks: 'ok    a\nok    b\n' }
    expect(addUp(files)).toEqual({ status: 0, last: '12 passed, 0 failed' })
  })

  it.each([
    ['a failed test', { 'x.json': report(10, 1), 'x.status': '1' }, '10 passed, 1 failed'],
    ['a file not loaded', { 'x.json': report(10, 0, 1), 'x.status': '1' }, '10 passed, 1 failed'],
    ['an error outside tests', { 'x.json': report(10, 0), 'x.status': '1' }, '10 passed, 1 failed'],
    ['no report', { 'x.status': '1' }, '0 passed, 1 failed'],
    ['a failed check', { checks: 'ok    a\nfail  b\n' }, '1 passed, 1 failed'],
  ])('counts %s', (_, files, last) => {
    expect(addUp(files as Record<string, string>)).toEqual({ status: 1, last })
  })

  it('fails when nothing ran', () => {
    expect(addUp({ checks: '' }).status).toBe(1)
  })
})

import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { sha256Hex } from '../../../src/base/bytes.ts'
import { bundleInline, bundleTaskFile, createItemChecker } from '../../../src/runtime/bundle.ts'
import { encodeValue } from '../../../src/runtime/segment.ts'
import { mapStack } from '../../../src/runtime/stacks.ts'
import { defineTask } from '../../../src/runtime/task.ts'
import { Harness } from './harness.ts'

const fixtures = fileURLToPath(new URL('../../fixtures/tasks/', import.meta.url))
const outside = 3

let harness: Harness
let folder: string
beforeAll(() => {
  harness = new Harness({ slots: 2 })
  folder = mkdtempSync(join(tmpdir(), 'mesh-test-'))
})
afterAll(async () => {
  await harness.close()
  rmSync(folder, { recursive: true, force: true })
})

describe('a task file', () => {
  it('becomes one module, named by its hash, without a version or a path in it', async () => {
    const bundle = await bundleTaskFile(join(fixtures, 'square.ts'))
    const text = new TextDecoder().decode(bundle.code)
    expect(bundle.name).toBe('square')
    expect(bundle.hash).toBe(sha256Hex(bundle.code))
    expect(text).not.toContain(fixtures)
    expect(bundle.hasSchema).toBe(false)
    const { values } = await harness.run(harness.raw(bundle.code), { lo: 2, hi: 5 })
    expect(values).toEqual([4, 9, 16])
  })

  it('has the same hash in another folder', async () => {
    // Whether a file is an ES module is part of what it means, and stands in the package.json.
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
    for (const name of ['throws.ts', 'throws-helper.ts', 'addon-optional.cjs', 'addon.node']) {
      cpSync(join(fixtures, name), join(folder, name))
    }
    for (const name of ['throws.ts', 'addon-optional.cjs']) {
      const [here, there] = await Promise.all([
        bundleTaskFile(join(fixtures, name)),
        bundleTaskFile(join(folder, name)),
      ])
      expect(there.hash).toBe(here.hash)
    }
  })

  it('may import packages from npm, ES modules and CommonJS, and carries a schema', async () => {
    const bundle = await bundleTaskFile(join(fixtures, 'npm-imports.ts'))
    expect(bundle.hasSchema).toBe(true)
    const checker = await createItemChecker(bundle)
    const items = Array.from({ length: 5000 }, (_, at) => ({ word: at === 4500 ? '' : 'mesh', at }))
    expect(await checker.check([...items, { word: 5 }])).toEqual([
      { index: 4500, issues: [expect.stringMatching(/^word: /)] },
      { index: 5000, issues: [expect.stringMatching(/^word: /), expect.stringMatching(/^at: /)] },
    ])
    await checker.close()
    const [only] = await harness
      .run(harness.raw(`${new TextDecoder().decode(bundle.code)}`), { hi: 1 })
      .then((it) => it.failures)
    // Items of a range are numbers: run() was reached, with the imports in place.
    expect(only).toMatchObject({ code: 'ERR_MESH_ITEM_THREW', name: 'TypeError' })
  })

  it('may export a plain function: a task named after the file', async () => {
    const bundle = await bundleTaskFile(join(fixtures, 'plain-function.js'))
    expect(bundle.name).toBe('plain-function')
    const { values } = await harness.run(harness.raw(bundle.code), { hi: 3 })
    expect(values).toEqual([1, 2, 3])
  })

  it('may use a package that falls back when its native addon is not there', async () => {
    const bundle = await bundleTaskFile(join(fixtures, 'addon-optional.cjs'))
    const { values } = await harness.run(harness.raw(bundle.code), { hi: 1 })
    expect(values).toEqual(['slow 0'])
  })

  it.each([
    ['nowhere.ts', 'ERR_MESH_TASK_NOT_FOUND', /there is no task file .*nowhere\.ts/],
    ['.', 'ERR_MESH_TASK_NOT_FOUND', /folder/],
    ['syntax-error.ts', 'ERR_MESH_TASK_SYNTAX', /syntax-error\.ts:7:3: Unexpected "}"/],
    [
      'missing-import.ts',
      'ERR_MESH_TASK_IMPORT',
      /missing-import\.ts:2:25: .*"a-package-that-nobody-installed".*npm install/,
    ],
    [
      'missing-file.ts',
      'ERR_MESH_TASK_IMPORT',
      /missing-file\.ts:1:22: .*"\.\/gone\.ts", which does not exist/,
    ],
    ['addon.ts', 'ERR_MESH_TASK_NATIVE_ADDON', /addon\.ts:1:19: .*\.\/addon\.node/],
    ['addon-package.ts', 'ERR_MESH_TASK_NATIVE_ADDON', /node-gyp-build/],
    ['no-default.ts', 'ERR_MESH_TASK_NO_DEFAULT', /no-default\.ts.*`export default task`/],
    ['not-a-task.ts', 'ERR_MESH_TASK_INVALID', /default export is an object and no task/],
    ['bad-task.ts', 'ERR_MESH_TASK_INVALID', /run of the task "bad" must be a function/],
    ['throws-at-load.ts', 'ERR_MESH_TASK_INVALID', /TypeError.*throws-at-load\.ts:3:\d+/],
  ])('%s is refused with %s', async (name, code, message) => {
    await expect(bundleTaskFile(join(fixtures, name))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
  })

  it('that ends the process, or never ends loading, does no harm here', async () => {
    const exits = join(folder, 'exits.ts')
    writeFileSync(exits, 'process.exit(7)\nexport default () => 1\n')
    await expect(bundleTaskFile(exits)).rejects.toMatchObject({
      code: 'ERR_MESH_TASK_INVALID',
      message: expect.stringContaining('process.exit(7)'),
    })
  })

  it('has stacks that lead to its sources', async () => {
    const bundle = await bundleTaskFile(join(fixtures, 'throws.ts'))
    const { failures } = await harness.run(harness.raw(bundle.code), { hi: 2 })
    const stack = mapStack(failures[0]!.stack!, bundle.map, bundle.hash)
    expect(stack).toMatch(/RangeError: item 1 is odd\n/)
    expect(stack).toMatch(/at reject \(.*tasks\/throws-helper\.ts:3:9\)/)
    expect(stack).toMatch(/at .*run \(.*tasks\/throws\.ts:7:\d+\)/)
    expect(stack).not.toContain('bundle-')
    expect(mapStack(failures[0]!.stack!, '', bundle.hash)).toBe(failures[0]!.stack)
    expect(mapStack(failures[0]!.stack!, bundle.map, 'f'.repeat(64))).toBe(failures[0]!.stack)
    expect(mapStack(failures[0]!.stack!, 'no JSON', bundle.hash)).toBe(failures[0]!.stack)
  })
})

describe('a task made in code', () => {
  it('travels as its functions', async () => {
    const task = defineTask({
      name: 'inline',
      async setup(ctx) {
        await new Promise((resolve) => setImmediate(resolve))
        return { suffix: new URL('a:b').pathname, size: ctx.args.size as number }
      },
      run(item: number, ctx) {
        return `${item * ctx.state.size}${ctx.state.suffix}`
      },
    })
    const bundle = await bundleInline(task)
    expect(bundle).toMatchObject({ name: 'inline', map: '', hasSchema: false })
    const args = encodeValue({ size: 10 })
    const { values } = await harness.run(harness.raw(bundle.code), { hi: 3, args })
    expect(values).toEqual(['0b', '10b', '20b'])
    expect(await bundleInline(task)).toBe(bundle)
  })

  it('may be a bare function', async () => {
    const bundle = await bundleInline((x: number) => x ** 2)
    const { values } = await harness.run(harness.raw(bundle.code), { hi: 4 })
    expect(values).toEqual([0, 1, 4, 9])
  })

  it('is refused when it closes over something', async () => {
    const task = defineTask({ name: 'closure', run: (item: number) => item + outside })
    const refusal = { code: 'ERR_MESH_TASK_CLOSURE', details: { names: ['outside'] } }
    await expect(bundleInline(task)).rejects.toMatchObject(refusal)
    await expect(bundleInline((x: number) => x + outside)).rejects.toMatchObject(refusal)
  })

  it('is refused when it is no task', async () => {
    await expect(bundleInline({ name: 'x', run: () => 1 } as never)).rejects.toMatchObject({
      code: 'ERR_MESH_TASK_INVALID',
    })
  })

  it('checks items with its schema here', async () => {
    const input = z.number().int()
    const bundle = await bundleInline(defineTask({ name: 'schema', input, run: (item) => item }))
    expect(bundle.inputSchema).toBe(input)
    const checker = await createItemChecker(bundle)
    expect(await checker.check([1, 1.5, 'x', 2])).toEqual([
      { index: 1, issues: [expect.any(String)] },
      { index: 2, issues: [expect.any(String)] },
    ])
    await checker.close()
  })

  it('with `module` brings its module, up to joinMesh()', async () => {
    const module = new URL('../../fixtures/tasks/program.ts', import.meta.url).href
    const task = defineTask({ name: 'program-hash', module, run: (item: number) => item })
    const bundle = await bundleInline(task)
    expect(bundle.name).toBe('program-hash')
    const run = await harness.run(harness.raw(bundle.code), {
      lo: -1,
      hi: 1,
      input: { kind: 'range', start: 0 },
    })
    expect(run.values[1]).toBe(sha256Hex(new TextEncoder().encode('salt0')))
    const stack = mapStack(run.failures[0]!.stack!, bundle.map, bundle.hash)
    expect(stack).toMatch(/program\.ts:12:\d+/)
  })

  it('with `module` must be found there', async () => {
    const module = new URL('../../fixtures/tasks/program.ts', import.meta.url).href
    const task = defineTask({ name: 'another', module, run: (item: number) => item })
    await expect(bundleInline(task)).rejects.toMatchObject({
      code: 'ERR_MESH_TASK_INVALID',
      message: expect.stringContaining('does not define the task "another"'),
    })
    const web = defineTask({ name: 'web', module: 'https://x/y.js', run: () => 1 })
    await expect(bundleInline(web)).rejects.toMatchObject({ code: 'ERR_MESH_TASK_INVALID' })
  })
})

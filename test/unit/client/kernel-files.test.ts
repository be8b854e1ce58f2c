/** What is no kernel yet is told what it lacks, and files that hold none are not run here. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { kernelOf, refuseKernel, specOf } from '../../../src/client/kernel.ts'
import { Mesh } from '../../../src/client/mesh.ts'
import { bundleOf } from '../../../src/client/task-code.ts'
import { defineKernel, type Kernel } from '../../../src/gpu/define-kernel.ts'
import type { MeshBackend } from '../../../src/node/types.ts'
import { defineTask } from '../../../src/runtime/task.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mesh-kernel-files-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, text)
  return path
}

const fields = {
  name: 'by hand',
  kernel(a: number[]) {
    return a[0]!
  },
  output: 4,
}
const HEAD = "import { defineKernel, defineTask } from 'meshwork'\n"
const FIELDS = '{ name: "k", kernel: function () { return this.thread.x }, output: [4] }'

describe('what is submitted', () => {
  const mesh = new Mesh({} as MeshBackend)

  test.each([
    ['without items', undefined],
    ['with items', { items: [1] }],
  ])('an object with a kernel, %s: give it to defineKernel', async (_, input) => {
    const submitted = mesh.submit(fields as never, input as never)
    await expect(submitted).rejects.toMatchObject({
      code: 'ERR_MESH_TASK_INVALID',
      message: expect.stringContaining(
        'defineKernel({ name, kernel: function (a, b) { … }, output })',
      ),
    })
  })

  test('a kernel with items: submit it without', async () => {
    const submitted = mesh.submit(defineKernel(fields) as never, { items: [1] })
    await expect(submitted).rejects.toMatchObject({
      code: 'ERR_MESH_TASK_INVALID',
      message: expect.stringMatching(/^"by hand" is a kernel.*without items$/),
    })
    expect(() => refuseKernel(defineTask({ name: 't', run: (item) => item }))).not.toThrow()
  })

  test.each(['source', 'constants', 'args', 'output', 'tolerance', 'name'] as const)(
    'a copy of a kernel that lacks its %s',
    (field) => {
      const copy = { ...defineKernel(fields), [field]: undefined } as unknown as Kernel
      expect(() => specOf(copy, undefined)).toThrow(
        expect.objectContaining({
          code: 'ERR_MESH_TASK_INVALID',
          message: expect.stringContaining(field),
        }),
      )
    },
  )
})

describe('a file', () => {
  test('that exports its kernel by a name alone is told to write export default', async () => {
    const path = await file('named.ts', `${HEAD}export const product = defineKernel(${FIELDS})\n`)
    const told = {
      code: 'ERR_MESH_TASK_NO_DEFAULT',
      message: expect.stringMatching(/product.*write `export default product`/),
    }
    await expect(kernelOf(path)).rejects.toMatchObject(told)
    // With items it is loaded as a task.
    await expect(bundleOf(path)).rejects.toMatchObject(told)
  })

  test('whose default export is the fields of a kernel is told to give them to defineKernel', async () => {
    const path = await file('fields.ts', `export default ${FIELDS}\n`)
    await expect(kernelOf(path)).rejects.toMatchObject({
      code: 'ERR_MESH_TASK_INVALID',
      message: expect.stringMatching(/^.*fields\.ts: .*defineKernel/),
    })
  })

  test.each([
    ['a kernel', `export default defineKernel(${FIELDS})`, true],
    [
      'a task that calls one',
      `const k = defineKernel(${FIELDS})\nexport default defineTask({ name: 't', run: (x, ctx) => ctx.gpu.run(k) })`,
      false,
    ],
    [
      'a function that calls one',
      `const k = defineKernel(${FIELDS})\nexport default (x, ctx) => ctx.gpu.run(k)`,
      false,
    ],
    [
      'what only its run tells',
      `const make = () => defineKernel(${FIELDS})\nexport default make()`,
      true,
    ],
  ])('with %s is run here only if it may be a kernel', async (what, text, isRun) => {
    const name = what.replaceAll(' ', '-')
    const mark = join(folder, `${name}.ran`)
    const path = await file(
      `${name}.ts`,
      `${HEAD}import { writeFileSync } from 'node:fs'\nwriteFileSync(${JSON.stringify(mark)}, '')\n${text}\n`,
    )
    const kernel = await kernelOf(path)
    expect([kernel !== undefined, existsSync(mark)]).toEqual([isRun, isRun])
  })
})

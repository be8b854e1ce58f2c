/** Where the author of a kernel file is told that something is wrong: in the file, not in the text that travels. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { kernelOf, specOf } from '../../../src/client/kernel.ts'
import { defineKernel, type Kernel } from '../../../src/gpu/define-kernel.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mesh-place-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** The error's message and details; `^` marks the place in the file, and is taken out. */
async function refusal(name: string, marked: string, main = name) {
  const before = marked.slice(0, marked.indexOf('^')).split('\n')
  await writeFile(join(folder, name), marked.replace('^', ''))
  const kernel = (await kernelOf(join(folder, main)))!
  return { error: errorOf(kernel), line: before.length, column: before.at(-1)!.length + 1 }
}

function errorOf(kernel: Kernel): unknown {
  try {
    specOf(kernel, undefined)
  } catch (error) {
    return error
  }
  throw new Error('the kernel was taken')
}

test.each([
  ['function', 'kernel: function (a: number[]) {'],
  ['named', 'kernel: function scale(a: number[]) {'],
  ['method', 'kernel(a: number[]) {'],
])(
  'a kernel written as a %s: the place in the file, after types and imports',
  async (name, head) => {
    const found = await refusal(
      `${name}.ts`,
      `import { defineKernel } from 'meshwork'

// A comment, and a type: the bundler takes both out.
type N = number
const size: N = 4

export default defineKernel({
  name: '${name}',
  ${head}
    const x: N = this.thread.x

    return a[x] + ^Math.random()
  },
  output: [size],
  args: [[1, 2, 3, 4]],
})
`,
    )
    const { line, column } = found
    expect(found.error).toMatchObject({
      code: 'ERR_MESH_KERNEL_INVALID',
      message: expect.stringContaining(
        `the kernel "${name}", ${join(folder, `${name}.ts`)}:${line}:${column}: Math.random`,
      ),
      details: { path: join(folder, `${name}.ts`), line, column },
    })
  },
)

test('a kernel of an imported file: the place in that one', async () => {
  await writeFile(join(folder, 'main.ts'), "export { inner as default } from './inner.ts'\n")
  const { error, line, column } = await refusal(
    'inner.ts',
    "import { defineKernel } from 'meshwork'\nexport const inner = defineKernel({\n  name: 'inner',\n  kernel() {\n    return ^window\n  },\n  output: [2],\n})\n",
    'main.ts',
  )
  expect(error).toMatchObject({ details: { path: join(folder, 'inner.ts'), line, column } })
})

test('a kernel made in code: the place in its text', () => {
  const kernel = defineKernel({
    name: 'code',
    kernel() {
      return Math.random()
    },
    output: [2],
  })
  const error = errorOf(kernel) as Error & { details: object }
  expect(error.message).toMatch(/^the kernel "code", \d+:\d+: Math\.random/)
  expect(error.details).toEqual({ line: expect.any(Number), column: expect.any(Number) })
})

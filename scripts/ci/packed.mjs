// Looks at what `npm pack --json` put into the package.
//
//   node scripts/ci/packed.mjs name PACK.json     the tarball's file name
//   node scripts/ci/packed.mjs check PACK.json    exits 1 if something is missing or does not belong there

import { readFileSync } from 'node:fs'

const [command, path] = process.argv.slice(2)
const parsed = JSON.parse(readFileSync(path, 'utf8'))
// npm up to 11 prints a list, later ones an object by package name.
const [pack] = Array.isArray(parsed) ? parsed : Object.values(parsed)

const NEEDED = [
  'dist/src/index.js',
  'dist/src/index.d.ts',
  'dist/cli/main.js',
  'dist/src/runtime/worker/main.js',
  'docs/meshwork.service',
  'LICENSE',
  'README.md',
  'CHANGELOG.md',
]
const UNWANTED =
  /(^|\/)(test|node_modules|coverage)\/|\.test\.|^dist\/(bench|examples)\/|\.tsbuildinfo$/
const MAX_BYTES = 4 * 1024 * 1024

if (command === 'name') console.log(pack.filename)
else {
  const files = pack.files.map((file) => file.path)
  const problems = [
    ...NEEDED.filter((file) => !files.includes(file)).map((file) => `missing: ${file}`),
    ...files.filter((file) => UNWANTED.test(file)).map((file) => `does not belong: ${file}`),
  ]
  if (pack.unpackedSize > MAX_BYTES) problems.push(`too large: ${pack.unpackedSize} bytes`)
  for (const problem of problems) console.error(problem)
  console.log(`package: ${files.length} files, ${pack.unpackedSize} bytes unpacked`)
  process.exitCode = problems.length === 0 ? 0 : 1
}

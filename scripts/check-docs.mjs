// Checks what the documents claim about files: relative links and images exist, anchors have a heading, and `npm run X`
// and `node dist/…` name something that is there.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const slug = (heading) =>
  heading
    .toLowerCase()
    .replace(/[`*_]/g, '')
    .replace(/[^\p{L}\p{N}\s-]/gu, '')
    .trim()
    .replace(/\s/g, '-')

const withoutCode = (text) => text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '')

function anchorsOf(path) {
  const text = readFileSync(path, 'utf8').replace(/^```[\s\S]*?^```/gm, '')
  return new Set([...text.matchAll(/^#{1,6} (.*)$/gm)].map((match) => slug(match[1])))
}

function linkProblem(root, file, target) {
  if (/^[a-z]+:/.test(target)) return undefined
  const [path, anchor] = target.split('#')
  const absolute = path === '' ? file : resolve(dirname(file), path)
  if (!existsSync(absolute)) return `${relative(root, file)}: no such file: ${target}`
  if (anchor !== undefined && absolute.endsWith('.md') && !anchorsOf(absolute).has(anchor)) {
    return `${relative(root, file)}: no such heading: ${target}`
  }
  return undefined
}

/** Every problem in README.md, CONTRIBUTING.md, CHANGELOG.md and docs/, one line each. */
export function checkDocs(root) {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const files = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'].map((name) => join(root, name))
  for (const entry of readdirSync(join(root, 'docs'), { recursive: true })) {
    if (entry.endsWith('.md')) files.push(join(root, 'docs', entry))
  }
  const problems = []
  for (const file of files.filter((path) => existsSync(path))) {
    const text = readFileSync(file, 'utf8')
    for (const [, target] of withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)) {
      const problem = linkProblem(root, file, target)
      if (problem !== undefined) problems.push(problem)
    }
    for (const [, name] of text.matchAll(/npm run ([a-z][\w:-]*)/g)) {
      if (scripts[name] === undefined) {
        problems.push(`${relative(root, file)}: package.json has no script ${name}`)
      }
    }
    for (const [, path] of text.matchAll(/node dist\/([\w/-]+)\.js/g)) {
      if (!existsSync(join(root, `${path}.ts`))) {
        problems.push(`${relative(root, file)}: nothing is built to dist/${path}.js`)
      }
    }
  }
  return problems
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = checkDocs(resolve(process.argv[2] ?? '.'))
  for (const problem of problems) console.error(problem)
  console.log(
    problems.length === 0 ? 'docs: every link leads somewhere' : `${problems.length} problems`,
  )
  process.exitCode = problems.length === 0 ? 0 : 1
}

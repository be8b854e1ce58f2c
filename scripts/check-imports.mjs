// Enforces the rooms of docs/architecture.md: which folder may import which, who may import libp2p, that the scheduler is
// pure, and that no cycle of imports exists. Prints every breach with file and line; exits 1 if there is one.
//
//   node scripts/check-imports.mjs [ROOT]

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

/**
 * Room by room (the longest matching prefix wins): what it may import besides itself and packages.
 * `types` are prefixes from which only `import type` is allowed.
 */
export const ROOMS = {
  'src/base': { may: [] },
  'src/scheduler': { may: [] },
  'src/store': { may: ['src/base', 'src/scheduler'] },
  'src/runtime': {
    may: ['src/base', 'src/runtime/worker'],
    types: ['src/gpu/define-kernel.ts'],
  },
  // docs/adr/0021: tasks define kernels and write down their calls.
  'src/runtime/worker': {
    may: [
      'src/base',
      'src/runtime',
      'src/gpu/define-kernel.ts',
      'src/gpu/kernel-spec.ts',
      'src/gpu/kernel-codec.ts',
    ],
  },
  'src/gpu': { may: ['src/base', 'src/runtime'] },
  'src/node': {
    may: ['src/node', 'src/base', 'src/scheduler', 'src/store', 'src/runtime', 'src/gpu'],
  },
  'src/node/transport': { may: ['src/base'], types: ['src/scheduler'] },
  'src/node/wire': {
    may: ['src/base', 'src/store'],
    types: ['src/scheduler', 'src/node/types.ts'],
  },
  'src/node/control': {
    may: ['src/base', 'src/node/limits.ts', 'src/store'],
    types: ['src/scheduler', 'src/node/types.ts'],
  },
  'src/client': {
    may: ['src/base', 'src/runtime', 'src/gpu'],
    types: ['src/scheduler', 'src/node/types.ts', 'src/gpu/types.ts'],
  },
  'src/index.ts': {
    may: ['src/base', 'src/client', 'src/runtime', 'src/gpu', 'src/node'],
    types: ['src/scheduler'],
  },
  cli: {
    may: [
      'src/index.ts',
      'src/base',
      'src/client',
      'src/node/control',
      'src/node/local-backend.ts',
      'src/node/wire/ticket.ts',
      'src/gpu/probe.ts',
    ],
    types: ['src/scheduler', 'src/node/types.ts', 'src/runtime', 'src/gpu/types.ts'],
  },
  // Examples are what users copy: they see the package by its name and nothing of its inside.
  examples: { may: [] },
  bench: { may: ['src', 'cli', 'examples', 'test'] },
  test: { may: ['src', 'cli', 'examples', 'bench', 'scripts'] },
}

const LIBP2P = /^(libp2p|@libp2p\/|@chainsafe\/libp2p-|@multiformats\/|it-pipe)/
const LIBP2P_ROOMS = ['src/node/transport', 'bench', 'test']

/** Names that src/scheduler must not touch, and what to do instead. */
const IMPURE = new Map([
  ['Date', '`now` is handed to handle()'],
  ['performance', '`now` is handed to handle()'],
  ['Promise', 'answer with effects'],
  ['setTimeout', 'emit a setTimer effect'],
  ['setInterval', 'emit a setTimer effect'],
  ['setImmediate', 'emit a setTimer effect'],
  ['queueMicrotask', 'answer with effects'],
  ['process', 'it does no I/O'],
  ['globalThis', 'name what you need'],
  ['fetch', 'it does no I/O'],
  ['crypto', 'randomness is config.random'],
])

function filesUnder(root, folder) {
  const path = join(root, folder)
  if (!existsSync(path)) return []
  if (statSync(path).isFile()) return [path]
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|mts|mjs|js)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
}

const inside = (path, prefix) => path === prefix || path.startsWith(`${prefix}/`)
const roomOf = (path) =>
  Object.keys(ROOMS)
    .filter((room) => inside(path, room))
    .sort((a, b) => b.length - a.length)[0]

/** Imports of a file: specifier, line, and whether only types are taken. */
function importsOf(source) {
  const found = []
  const add = (literal, typeOnly) => {
    const { line } = source.getLineAndCharacterOfPosition(literal.getStart(source))
    found.push({ specifier: literal.text, line: line + 1, typeOnly })
  }
  const allTypes = (named) =>
    named !== undefined &&
    (ts.isNamedImports(named) || ts.isNamedExports(named)) &&
    named.elements.length > 0 &&
    named.elements.every((element) => element.isTypeOnly)
  const visit = (node) => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const clause = node.importClause
      const typeOnly =
        clause?.isTypeOnly === true ||
        (clause?.name === undefined && allTypes(clause?.namedBindings))
      add(node.moduleSpecifier, typeOnly)
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      add(node.moduleSpecifier, node.isTypeOnly || allTypes(node.exportClause))
    } else if (
      ts.isCallExpression(node) &&
      node.expression.kind === ts.SyntaxKind.ImportKeyword &&
      node.arguments[0] !== undefined &&
      ts.isStringLiteral(node.arguments[0])
    ) {
      // Lazily loaded: counts for the directions, not for cycles at load time.
      add(node.arguments[0], false)
      found.at(-1).lazy = true
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, true)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** Uses of impure globals and Math.random in one file of the scheduler. */
function impurities(source) {
  const found = []
  const visit = (node) => {
    if (ts.isIdentifier(node)) {
      const parent = node.parent
      const isMember = ts.isPropertyAccessExpression(parent) && parent.name === node
      const isKey =
        (ts.isPropertyAssignment(parent) || ts.isPropertySignature(parent)) && parent.name === node
      const { line } = source.getLineAndCharacterOfPosition(node.getStart(source))
      if (!isMember && !isKey && IMPURE.has(node.text)) {
        found.push({ line: line + 1, name: node.text, why: IMPURE.get(node.text) })
      }
      if (isMember && node.text === 'random' && parent.expression.getText(source) === 'Math') {
        found.push({ line: line + 1, name: 'Math.random', why: 'randomness is config.random' })
      }
    } else if (node.kind === ts.SyntaxKind.AsyncKeyword || ts.isAwaitExpression(node)) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart(source))
      found.push({ line: line + 1, name: 'async/await', why: 'answer with effects' })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

function checkDirection(file, imported, target) {
  const room = roomOf(file)
  if (room === undefined || target === undefined) return undefined
  const targetRoom = roomOf(target)
  if (targetRoom === room) return undefined
  const rule = ROOMS[room]
  const prefixes = [...rule.may, ...(imported.typeOnly ? (rule.types ?? []) : [])]
  if (prefixes.some((prefix) => inside(target, prefix))) return undefined
  if (prefixes.length === 0) return `${room} may import nothing of ours, here ${target}`
  const kind = !imported.typeOnly && (rule.types ?? []).some((p) => inside(target, p))
  return kind
    ? `${room} may take only types from ${target}: use import type`
    : `${room} may import ${prefixes.join(', ')}, not ${target}`
}

/** Strongly connected groups of more than one file, each as a path that closes. */
function cycles(graph) {
  const state = new Map()
  const found = []
  const stack = []
  const visit = (file) => {
    state.set(file, 'open')
    stack.push(file)
    for (const next of graph.get(file) ?? []) {
      if (state.get(next) === 'open') found.push([...stack.slice(stack.indexOf(next)), next])
      else if (!state.has(next)) visit(next)
    }
    stack.pop()
    state.set(file, 'closed')
  }
  for (const file of graph.keys()) if (!state.has(file)) visit(file)
  return found
}

/** Every breach under `root`, one line of text each. */
export function checkImports(root) {
  const problems = []
  const graph = new Map()
  for (const path of ['src', 'cli', 'examples', 'bench', 'test'].flatMap((d) =>
    filesUnder(root, d),
  )) {
    const file = relative(root, path).split(sep).join('/')
    if (file.startsWith('test/fixtures/')) continue
    const source = ts.createSourceFile(
      path,
      readFileSync(path, 'utf8'),
      ts.ScriptTarget.Latest,
      true,
    )
    const edges = []
    for (const imported of importsOf(source)) {
      const local = imported.specifier.startsWith('.')
      const target = local
        ? relative(root, resolve(dirname(path), imported.specifier))
            .split(sep)
            .join('/')
        : undefined
      const problem = checkDirection(file, imported, target)
      if (problem !== undefined) problems.push(`${file}:${imported.line} ${problem}`)
      if (local && !imported.typeOnly && imported.lazy !== true) edges.push(target)
      if (LIBP2P.test(imported.specifier) && !LIBP2P_ROOMS.some((room) => inside(file, room))) {
        problems.push(
          `${file}:${imported.line} only src/node/transport imports ${imported.specifier}`,
        )
      }
      if (inside(file, 'src/scheduler') && !local) {
        problems.push(
          `${file}:${imported.line} src/scheduler imports no package: ${imported.specifier}`,
        )
      }
    }
    graph.set(file, edges)
    if (inside(file, 'src/scheduler')) {
      for (const { line, name, why } of impurities(source)) {
        problems.push(`${file}:${line} src/scheduler is pure, no ${name}: ${why}`)
      }
    }
  }
  for (const cycle of cycles(graph))
    problems.push(`${cycle[0]} imports itself: ${cycle.join(' -> ')}`)
  return problems
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = checkImports(resolve(process.argv[2] ?? '.'))
  for (const problem of problems) console.error(problem)
  console.log(
    `imports: ${problems.length === 0 ? 'every room keeps its direction' : `${problems.length} breaches`}`,
  )
  process.exitCode = problems.length === 0 ? 0 : 1
}

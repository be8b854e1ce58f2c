// Adds to package-lock.json the optional packages of other platforms that it lacks, without their integrity.
//
// A registry mirror that holds only this platform's builds makes a lock file in which the others are missing, and `npm ci`
// then refuses it everywhere ("Missing: … from lock file"). With an entry for each, npm passes over what is not for the platform at hand.
//
//   node scripts/complete-lock.mjs [package-lock.json]      after each change of the dependencies

import { readFileSync, writeFileSync } from 'node:fs'

const OSES = [
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
]
const CPUS = [
  'arm',
  'arm64',
  'ia32',
  'loong64',
  'mips64el',
  'ppc64',
  'riscv64',
  's390x',
  'wasm32',
  'x64',
]

/** What a package's name says of the platform that it is for. */
export function platformOf(name) {
  const words = name.split('/').at(-1).split('-')
  const os = OSES.find((word) => words.includes(word))
  const cpu = CPUS.find((word) => words.includes(word))
  const libc = words.some((word) => word.startsWith('musl'))
    ? 'musl'
    : words.some((word) => word.startsWith('gnu'))
      ? 'glibc'
      : undefined
  return {
    ...(cpu !== undefined && { cpu: [cpu] }),
    ...(libc !== undefined && os === 'linux' && { libc: [libc] }),
    ...(os !== undefined && { os: [os] }),
  }
}

/** Where npm would find `name` from the package at `path`: the nearest node_modules that has it. */
function isLocked(packages, path, name) {
  for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    if (packages[`${at === '' ? '' : `${at}/`}node_modules/${name}`] !== undefined) return true
    if (at === '') return false
  }
}

/** The packages of a lock file with the missing ones; the names of those added. */
export function complete(packages) {
  const added = {}
  for (const [path, locked] of Object.entries(packages)) {
    for (const [name, range] of Object.entries(locked.optionalDependencies ?? {})) {
      if (isLocked(packages, path, name) || added[`node_modules/${name}`] !== undefined) continue
      const platform = platformOf(name)
      const version = /^[~^]?(\d[\w.+-]*)$/.exec(range)?.[1]
      if (version === undefined || Object.keys(platform).length === 0) {
        throw new Error(`${path} wants ${name}@${range}: neither locked nor a platform's build`)
      }
      added[`node_modules/${name}`] = {
        version,
        ...(platform.cpu && { cpu: platform.cpu }),
        ...(locked.dev === true && { dev: true }),
        ...(platform.libc && { libc: platform.libc }),
        optional: true,
        ...(platform.os && { os: platform.os }),
      }
    }
  }
  const byPath = ([a], [b]) => (a < b ? -1 : 1)
  return {
    packages: Object.fromEntries(Object.entries({ ...packages, ...added }).sort(byPath)),
    added: Object.keys(added),
  }
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const path = process.argv[2] ?? 'package-lock.json'
  const lock = JSON.parse(readFileSync(path, 'utf8'))
  const { packages, added } = complete(lock.packages)
  lock.packages = packages
  writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`)
  console.log(`${path}: ${added.length} packages of other platforms added`)
}

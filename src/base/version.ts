import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

function readVersion(): string {
  // From src/base in a checkout, from dist/src/base in the package.
  for (const path of ['../../../package.json', '../../package.json']) {
    try {
      const found = require(path) as { name?: string; version?: string }
      if (found.name === 'meshwork' && found.version !== undefined) return found.version
    } catch {
      // the other layout
    }
  }
  return '0.0.0'
}

/** This package's version. */
export const VERSION = readVersion()

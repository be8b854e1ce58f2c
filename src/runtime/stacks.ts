/** Rewrites positions in a bundle to the user's own files. */
import { SourceMap } from 'node:module'

/** A frame's place: an optional URL or path up to the bundle's file name, then line and column (1-based). */
const PLACE = /(?:[^\s()]*\/)?(?:bundle-([0-9a-f]{12})|([0-9a-f]{64}))\.mjs:(\d+):(\d+)/g

/**
 * Maps every position of `stack` inside the bundle `bundleHash` with its source map. What has no counterpart stays as it is.
 * @param map the external source map as JSON text; '' or one that cannot be read changes nothing.
 */
export function mapStack(stack: string, map: string, bundleHash: string): string {
  const sources = readMap(map)
  if (sources === undefined) return stack
  return stack.replace(
    PLACE,
    (whole: string, short?: string, full?: string, line = '', column = '') => {
      if (full !== undefined ? full !== bundleHash : !bundleHash.startsWith(short ?? '-'))
        return whole
      const entry = sources.findEntry(Number(line) - 1, Number(column) - 1)
      if (!('originalSource' in entry) || entry.originalSource === undefined) return whole
      return `${showSource(entry.originalSource)}:${entry.originalLine + 1}:${entry.originalColumn + 1}`
    },
  )
}

/** Where a place of the bundle (1-based) is in the user's own files (1-based too); undefined when the map does not say. */
export function sourcePlace(
  map: string,
  line: number,
  column: number,
): { readonly path: string; readonly line: number; readonly column: number } | undefined {
  const entry = readMap(map)?.findEntry(line - 1, column - 1)
  if (entry === undefined || !('originalSource' in entry)) return undefined
  const { originalSource, originalLine, originalColumn } = entry
  if (originalSource === undefined) return undefined
  return { path: showSource(originalSource), line: originalLine + 1, column: originalColumn + 1 }
}

/** The parsed map of the last bundle: a job's errors come by the thousand. */
let last: { readonly text: string; readonly map: SourceMap } | undefined

function readMap(text: string): SourceMap | undefined {
  if (text === '') return undefined
  if (last?.text === text) return last.map
  try {
    last = { text, map: new SourceMap(JSON.parse(text)) }
    return last.map
  } catch {
    return undefined
  }
}

function showSource(source: string): string {
  return source.startsWith('file://') ? decodeURIComponent(new URL(source).pathname) : source
}

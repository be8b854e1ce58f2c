import { stripVTControlCharacters } from 'node:util'
import { BAR_WIDTH } from './limits.ts'

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
}

/** Aligned columns, two spaces between; colours do not count as width. Ends with a newline. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  styleTitle: (text: string) => string = (text) => text,
): string {
  const widths = columns.map((column, at) =>
    Math.max(column.title.length, ...rows.map((row) => visibleWidth(row[at] ?? ''))),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, at) => {
        const space = ' '.repeat(Math.max(0, widths[at]! - visibleWidth(cell)))
        return columns[at]!.align === 'right' ? space + cell : cell + space
      })
      .join('  ')
      .trimEnd()
  const title = styleTitle(line(columns.map((column) => column.title)))
  return [title, ...rows.map((row) => line(columns.map((_, at) => row[at] ?? '')))]
    .map((text) => `${text}\n`)
    .join('')
}

/** Lines of `label  value`, the values aligned. Ends with a newline unless there are none. */
export function renderFields(
  fields: readonly (readonly [label: string, value: string])[],
  styleLabel: (text: string) => string = (text) => text,
): string {
  const width = Math.max(0, ...fields.map(([label]) => label.length))
  return fields
    .map(([label, value]) => `  ${styleLabel(label.padEnd(width))}  ${value}`.trimEnd())
    .map((text) => `${text}\n`)
    .join('')
}

/** A bar of block characters. */
export function renderBar(
  part: number,
  whole: number,
  width = BAR_WIDTH,
  glyphs: { readonly full: string; readonly empty: string } = { full: '█', empty: '░' },
): string {
  const share = whole === 0 ? 1 : Math.min(1, Math.max(0, part / whole))
  const full = Math.floor(share * width)
  return glyphs.full.repeat(full) + glyphs.empty.repeat(width - full)
}

export function visibleWidth(text: string): number {
  return stripVTControlCharacters(text).length
}

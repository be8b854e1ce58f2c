import type { Context, Terminal } from './context.ts'

type Paint = (text: string) => string
export interface Style {
  readonly bold: Paint
  readonly dim: Paint
  readonly green: Paint
  readonly yellow: Paint
  readonly red: Paint
  readonly cyan: Paint
}

const plain: Paint = (text) => text
const PLAIN: Style = {
  bold: plain,
  dim: plain,
  green: plain,
  yellow: plain,
  red: plain,
  cyan: plain,
}

/** Colours for a terminal only; NO_COLOR (no-color.org) and a dumb terminal turn them off. */
export async function styleFor(context: Context, stream: Terminal): Promise<Style> {
  if (stream.isTTY !== true || context.env.NO_COLOR || context.env.TERM === 'dumb') return PLAIN
  const { default: picocolors } = await import('picocolors')
  return picocolors.createColors(true)
}

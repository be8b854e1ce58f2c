import { extname } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { MeshError } from '../../src/base/errors.ts'
import type { PictureOptions } from '../../src/client/array-files.ts'

/** How the array of a kernel becomes a picture. */
export interface PictureFlags {
  readonly out?: string
  readonly colours?: 'viridis' | 'gray'
  readonly rangeOf?: readonly [low: number, high: number]
}

/** Adds --colours and --range-of. */
export function withPictureOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--colours <map>',
        'of a .png of one plane: viridis or gray (default: viridis)',
      ).choices(['viridis', 'gray']),
    )
    .option(
      '--range-of <low,high>',
      'of a .png: the values that are darkest and brightest (default: the least and greatest)',
      parseBounds,
    )
}

/** @throws ERR_MESH_OPTION_INVALID when no picture is written */
export function pictureOptions({ out, colours, rangeOf }: PictureFlags): {
  readonly picture?: PictureOptions
} {
  const given = colours === undefined ? '--range-of' : '--colours'
  if (colours === undefined && rangeOf === undefined) return {}
  if (out === undefined || extname(out).toLowerCase() !== '.png') {
    throw new MeshError(
      'ERR_MESH_OPTION_INVALID',
      `${given} is of a picture: write one with --out FILE.png, or leave it out`,
      { details: { option: given } },
    )
  }
  return {
    picture: {
      ...(colours === undefined ? {} : { gray: colours === 'gray' }),
      ...(rangeOf === undefined ? {} : { range: rangeOf }),
    },
  }
}

/** '0,255', '-1.5,1e3' */
function parseBounds(text: string): readonly [number, number] {
  const parts = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)))
  const [low, high] = parts
  if (parts.length === 2 && Number.isFinite(low) && Number.isFinite(high) && low! < high!) {
    return [low!, high!]
  }
  throw new InvalidArgumentError(
    `must be two numbers, the lower first, as in --range-of 0,255 (got '${text}')`,
  )
}

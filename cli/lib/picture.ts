import type { ArrayFileWritten } from '../../src/client/array-files.ts'
import type { Size } from '../../src/gpu/types.ts'
import { formatBytes, plural } from './format.ts'

const FORMATS = {
  npy: 'for NumPy (np.load)',
  csv: 'as text',
  f32: 'as bare little-endian f32, x fastest',
} as const

/**
 * What was written, for people: 'out.png: 512 x 512, viridis from -1 (dark) to 3.5 (bright), 181 KiB'. A picture shows no numbers, so that its
 * scale is told here.
 */
export function arrayFileLine({ path, format, sizeBytes, scale }: ArrayFileWritten, size: Size) {
  const extent = size.length === 1 ? plural(size[0], 'value') : size.join(' x ')
  const how = format === 'png' ? scaleText(scale) : FORMATS[format]
  return `${path}: ${extent}, ${how}, ${formatBytes(sizeBytes)}`
}

function scaleText(scale: ArrayFileWritten['scale']): string {
  if (scale?.range === undefined) return 'nothing to see: no value is a number'
  const { colors, range, clipped, missing } = scale
  const [low, high] = range.map(shown) as [string, string]
  const parts = [
    low === high
      ? `${colors}, all values are ${low}`
      : `${colors} from ${low} (dark) to ${high} (bright)`,
  ]
  if (clipped > 0) {
    parts.push(
      `${plural(clipped, 'value')} outside ${clipped === 1 ? 'is' : 'are'} shown as the ends`,
    )
  }
  if (missing > 0)
    parts.push(`${plural(missing, 'NaN')} ${missing === 1 ? 'is' : 'are'} transparent`)
  return parts.join('; ')
}

/** Four digits say enough of a scale. */
function shown(value: number): string {
  return Number.isInteger(value) && Math.abs(value) < 1e6
    ? String(value)
    : String(Number(value.toPrecision(4)))
}

import { inflateSync } from 'node:zlib'
import { HEIGHT, PIXELS, WIDTH } from './photograph-data.ts'

/**
 * Adolphe Braun, alpine landscape, carbon print, 1865-1870, in grey and made smaller; 0 is black, 1 is white, the top row first. Digital
 * image courtesy of the Getty's Open Content Program; in the public domain (CC0 1.0). It is kept in the code, so that the
 * example stays one thing wherever it is bundled and run.
 */
export function photograph() {
  const differences = inflateSync(Buffer.from(PIXELS, 'base64'))
  const data = new Float32Array(WIDTH * HEIGHT)
  let grey = 0
  for (const [at, difference] of differences.entries()) {
    grey = ((at % WIDTH === 0 ? 0 : grey) + difference) & 0xff
    data[at] = grey / 255
  }
  return { data, size: [WIDTH, HEIGHT] as const }
}

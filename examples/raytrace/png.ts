import { PNG } from 'pngjs'
import { type Picture, tileAt } from './tracer.ts'

/** Puts tiles, RGB bytes each, together to the RGBA bytes of the picture. */
export function assemble(picture: Picture, tiles: readonly Uint8Array[]): Buffer {
  const rgba = Buffer.alloc(picture.width * picture.height * 4, 255)
  for (const [index, pixels] of tiles.entries()) {
    const area = tileAt(picture, index)
    for (let row = 0; row < area.height; row++) {
      for (let column = 0; column < area.width; column++) {
        const from = (row * area.width + column) * 3
        const to = ((area.y + row) * picture.width + area.x + column) * 4
        rgba[to] = pixels[from]!
        rgba[to + 1] = pixels[from + 1]!
        rgba[to + 2] = pixels[from + 2]!
      }
    }
  }
  return rgba
}

/** The picture as a PNG file's bytes. */
export function toPng(picture: Picture, tiles: readonly Uint8Array[]): Buffer {
  const png = new PNG({ width: picture.width, height: picture.height })
  assemble(picture, tiles).copy(png.data)
  return PNG.sync.write(png, { colorType: 2 })
}

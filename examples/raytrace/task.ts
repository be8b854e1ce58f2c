import { defineTask } from 'meshwork'
import { type Picture, renderTile } from './tracer.ts'

export const PICTURE: Picture = { width: 960, height: 540, samples: 9, tile: 36 }

/** Item i paints tile i of the picture: RGB bytes, row by row. `args` may set width, height, samples and tile. */
export default defineTask({
  name: 'raytrace',
  module: import.meta.url,
  run(index: number, ctx): Uint8Array {
    return renderTile({ ...PICTURE, ...((ctx.args ?? {}) as Partial<Picture>) }, index)
  },
})

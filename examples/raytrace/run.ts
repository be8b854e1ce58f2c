// A ray-traced picture: every item is a tile, and the tiles are put together to a PNG here.

import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { joinFromArguments } from '../lib/join.ts'
import { toPng } from './png.ts'
import raytrace, { PICTURE } from './task.ts'
import { tileCount } from './tracer.ts'

const mesh = await joinFromArguments()
try {
  const job = await mesh.submit(raytrace, { range: [0, tileCount(PICTURE)] }, { args: PICTURE })
  const png = toPng(PICTURE, await job.collect())
  const path = resolve('raytrace.png')
  writeFileSync(path, png)
  console.log(path)
} finally {
  await mesh.stop()
}

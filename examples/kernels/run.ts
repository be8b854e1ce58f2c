// Two discs of bodies pass each other: each step is a kernel job whose argument is the result of the one before.

import { resolve } from 'node:path'
import { writeArrayFile } from 'meshwork'
import { joinFromArguments } from '../lib/join.ts'
import { crowd, discs, step } from './n-body.ts'

const BODIES = Number(process.env.BODIES ?? 4096)
const STEPS = Number(process.env.STEPS ?? 200)
const SIDE = 256

const mesh = await joinFromArguments()
try {
  let state = discs(BODIES)
  for (let done = 0; done < STEPS; done++) {
    const job = await mesh.submit(step(state))
    state = (await job.array()).data
  }
  const { path } = await writeArrayFile(resolve('n-body.png'), crowd(state, SIDE))
  console.log(path)
} finally {
  await mesh.stop()
}

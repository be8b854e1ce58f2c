// The compositions of this folder from code: `node dist/examples/compose/run.js [--data DIR] [--cores N] …`

import { fileURLToPath } from 'node:url'
import { joinFromArguments } from '../lib/join.ts'
import chord from './chord.ts'
import dag from './dag.ts'
import pipeline from './pipeline.ts'
import wordCount from './word-count.ts'

const mesh = await joinFromArguments()
try {
  console.log(await mesh.run(chord))
  console.log(await mesh.run(pipeline({ tax: 19 })))
  const job = await mesh.submit(dag)
  console.log(await job.collect())
  const words = await mesh.run(wordCount({ file: fileURLToPath(import.meta.url) }))
  console.log(`"mesh" stands ${words.mesh} times in this file`)
} finally {
  await mesh.stop()
}

import { afterAll, beforeAll, expect, it } from 'vitest'
import { jobIdOf } from '../../../src/store/entry-codec.ts'
import { openStore } from '../../../src/store/level-store.ts'
import { buildScript, removeScript, startChild } from './child.ts'
import { collect, peerOf, sessionOf, specOf, tempDir } from './fixtures.ts'

let script: string
beforeAll(async () => {
  script = await buildScript('writer-script')
})
afterAll(() => removeScript(script))

const ROUNDS = 5

it('loses nothing acknowledged when its process is killed in the middle of writing', async () => {
  const dir = await tempDir()
  const self = peerOf('self')
  const job = jobIdOf(specOf('kill'))
  const acknowledged = new Map<string, [appended: number, ingested: number]>()
  for (let round = 0; round < ROUNDS; round++) {
    const child = startChild(script, dir, `session ${round}`)
    // It is in full swing after some acknowledgements, a different number each round.
    let last: string | undefined
    for (let i = 0; i < 20 + 37 * round; i++) last = await child.line()
    const killed = child.kill()
    last = (await child.rest()).at(-1) ?? last
    await killed
    const counts = last!.split(' ').slice(-2).map(Number)
    expect(counts.every((n) => n > 0)).toBe(true)
    acknowledged.set(sessionOf(`session ${round}`), counts as [number, number])

    const store = await openStore({ dir, self: self.peer, sign: self.sign })
    expect(store.heads(job)).toHaveLength(2 * acknowledged.size)
    for (const head of store.heads(job)) {
      const least = acknowledged.get(head.session)![head.author === self.peer ? 0 : 1]
      expect(head.seq).toBeGreaterThanOrEqual(least)
      // All of it can be served: it ends signed.
      let next = 1
      while (next <= head.seq)
        next += (await store.readRun(job, head, next, 65_536))!.entries.length
      expect(next).toBe(head.seq + 1)
    }
    // A batch is whole: the view was written with the entries that it tells of.
    const [span] = await collect(store.ownerSpans(job))
    const mine = store.head(job, { author: self.peer, session: span!.owner })
    expect(mine).toMatchObject({ seq: span!.hi, hash: span!.hash })
    await store.close()
  }
})

import { afterAll, beforeAll, expect, it } from 'vitest'
import { buildScript, removeScript } from './child.ts'
import { killRounds } from './kill-rounds.ts'

let script: string
beforeAll(async () => {
  script = await buildScript('writer-script')
})
afterAll(() => removeScript(script))

/** `MESH_KILL_ROUNDS=100` is the full proof. */
const ROUNDS = Number(process.env.MESH_KILL_ROUNDS ?? 15)

it(
  `loses nothing acknowledged when its process is killed in the middle of writing, ${ROUNDS} times`,
  async () => {
    const counts = await killRounds(script, ROUNDS)
    expect(counts.rounds).toBe(ROUNDS)
    for (const count of Object.values(counts)) expect(count).toBeGreaterThan(0)
    if (process.env.MESH_KILL_ROUNDS !== undefined) console.log(counts)
  },
  20_000 * ROUNDS,
)

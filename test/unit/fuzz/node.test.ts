import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it, onTestFinished } from 'vitest'
import type { Engine } from '../../../src/node/engine.ts'
import { jobIdOf } from '../../../src/store/entry-codec.ts'
import { specOf } from '../store/writers.ts'
import { ITEMS } from './hostile-mesh.ts'
import { mutateCbor } from './mutate-cbor.ts'
import { PeerUnderTest } from './peer-rig.ts'
import { Random } from './random.ts'
import { SEED } from './seed.ts'

/**
 * The peer from its messages down to its store, among members that say whatever they like. Nothing that they say is a fault of ours:
 * no exception anywhere, no write that fails, and the books still add up.
 */
const SECONDS = Number(process.env.MESH_FUZZ_SECONDS ?? 3)
const MESSAGES = 400

async function round(seed: string): Promise<PeerUnderTest> {
  const random = new Random(seed)
  const peer = new PeerUnderTest(random)
  const spec = specOf('a', ITEMS)
  if (random.oneIn(2)) {
    peer.engine.dispatch({ type: 'submitted', job: jobIdOf(spec), spec, at: 1 })
  }
  for (let i = 0; i < MESSAGES; i++) {
    const from = random.pick(peer.mesh.members)
    if (random.oneIn(4)) {
      const { topic, bytes } = peer.mesh.gossip()
      peer.router.onGossip(topic, bytes, from.peer)
    } else {
      const bytes = peer.mesh.message(from)
      const sent = random.oneIn(8) ? mutateCbor(bytes, random, [bytes]) : bytes
      peer.router.onMessage(from.peer, sent)
    }
    if (i % 20 === 0) {
      await new Promise(setImmediate)
      await peer.engine.settled()
      peer.check()
    }
    if (peer.faults.length > 0) throw new Error(`after message ${i}: ${peer.faults[0]}`)
  }
  if (random.oneIn(3)) peer.engine.dispatch({ type: 'stopping' })
  await peer.engine.settled()
  if (peer.faults.length > 0) throw new Error(`at the end: ${peer.faults[0]}`)
  peer.check()
  return peer
}

it(
  'among members that say whatever they like nothing throws, and the books add up',
  async () => {
    const end = performance.now() + SECONDS * 1000
    const sent = new Set<string>()
    const engines: Engine[] = []
    onTestFinished(() => {
      for (const engine of engines) engine.close()
    })
    for (let i = 0; performance.now() < end || i < 3; i++) {
      const seed = `${SEED} node ${i}`
      try {
        const peer = await round(seed)
        for (const kind of peer.sent.keys()) sent.add(kind)
        peer.engine.close()
      } catch (cause) {
        throw new Error(`seed ${SEED}, round ${i}: ${String(cause)}`, { cause })
      }
    }
    // It took part, rather than sitting it out.
    for (const kind of ['entries', 'pull', 'heads', 'stealAnswer']) expect(sent).toContain(kind)
  },
  SECONDS * 1000 + 60_000,
)

/** Kinds that name a job; each message names one that nobody ever heard of. */
const STRANGERS = ['steal', 'lifeline', 'heads', 'pull', 'jobAck', 'jobWanted', 'suspect'] as const
const STRANGE_MESSAGES = 20_000
const MAX_GROWTH_BYTES = 1024 * 1024

it('messages of jobs, sessions and peers that nobody knows leave nothing behind', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const random = new Random(`${SEED} strangers`)
  const peer = new PeerUnderTest(random)
  onTestFinished(() => peer.engine.close())
  const from = peer.mesh.members[0]!
  for (const kind of STRANGERS) {
    const say = () => peer.router.onMessage(from.peer, peer.mesh.strange(kind))
    for (let i = 0; i < 1_000; i++) say()
    await peer.engine.settled()
    collect()
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < STRANGE_MESSAGES; i++) {
      say()
      if (i % 1_000 === 0) await new Promise(setImmediate)
    }
    await peer.engine.settled()
    collect()
    const grown = process.memoryUsage().heapUsed - before
    expect(grown, `seed ${SEED}: ${kind}`).toBeLessThan(MAX_GROWTH_BYTES)
    expect(peer.faults).toEqual([])
  }
})

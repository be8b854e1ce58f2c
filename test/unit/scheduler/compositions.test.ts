import { describe, expect, test } from 'vitest'
import { DONE_TICK_MS, MAX_SEEDS } from '../../../src/scheduler/limits.ts'
import type { NodeInput, Plan, PlanNode, Shape } from '../../../src/scheduler/plan.ts'
import { planSeeds } from '../../../src/scheduler/plan-seeds.ts'
import type { JobSpec, SchedulerEffect } from '../../../src/scheduler/types.ts'
import { itemsOfPlan, taskNamed } from '../../helpers/random-plan.ts'
import { Bench, Feed, factsOf, JOB, specOf } from './builders.ts'

const steps = [{ task: 0 }]
const range: NodeInput = { kind: 'range', start: 0 }
const item = (at: number): Shape => ({ kind: 'item', item: at })
const list = (lo: number, hi: number): Shape => ({ kind: 'list', lo, hi })
const each = (lo: number, hi: number): NodeInput => ({ kind: 'each', from: [{ lo, hi }] })

function node(count: number, input: NodeInput, more: Partial<PlanNode> = {}): PlanNode {
  return { count, input, steps, ...more }
}

function callOf(...shapes: Shape[]): PlanNode {
  return node(1, { kind: 'call', args: shapes.map((shape) => ({ kind: 'shape', shape })) })
}

function planOf(...nodes: PlanNode[]): Plan {
  const items = nodes.reduce((sum, { count }) => sum + count, 0)
  const tasks = [taskNamed('one'), taskNamed('two')]
  return { tasks, nodes, output: item(items - 1) }
}

function specFor(plan: Plan, options: JobSpec['options'] = {}): JobSpec {
  const spec = specOf(itemsOfPlan(plan), options)
  return { ...spec, task: { ...spec.task, kind: 'graph' } as JobSpec['task'] }
}

function submit(bench: Bench, plan: Plan, options: JobSpec['options'] = {}) {
  return bench.on({ type: 'submitted', job: JOB, spec: specFor(plan, options), at: 7, plan })
}

const isCopy = (effect: SchedulerEffect): boolean =>
  effect.type === 'startChunk' && effect.speculative

const other = factsOf('other')
const third = factsOf('third')

describe('items of a composition', () => {
  test('start when what they need is final, in chunks of one node', () => {
    const bench = new Bench(factsOf('self', { slots: 2 }))
    submit(bench, planOf(node(2, range), node(2, each(0, 2)), callOf(list(2, 4))))
    const first = bench.all('startChunk')
    expect(first.map(({ lo, hi, node, nodeLo }) => [lo, hi, node, nodeLo])).toEqual([
      [0, 1, 0, 0],
      [1, 2, 0, 0],
    ])
    bench.end(first[0]!.chunk, 1, 5)
    // What it makes ready starts at once, by this very event.
    expect(bench.find('startChunk')).toMatchObject({ lo: 2, hi: 3, node: 1, nodeLo: 2 })
    bench.end(bench.find('startChunk').chunk, 3, 5)
    expect(bench.all('startChunk')).toEqual([])
    bench.end(first[1]!.chunk, 2, 5)
    expect(bench.find('startChunk')).toMatchObject({ lo: 3, hi: 4 })
    bench.end(bench.find('startChunk').chunk, 4, 5)
    expect(bench.find('startChunk')).toMatchObject({ lo: 4, hi: 5, node: 2, nodeLo: 4 })
    bench.end(bench.find('startChunk').chunk, 5, 5)
    expect(bench.view.state).toBe('finished')
  })

  test('wait for the plan, which is asked for', () => {
    const plan = planOf(node(2, range), callOf(list(0, 2)))
    const bench = new Bench()
    const author = new Feed(other)
    const spec = specFor(plan)
    bench.see(other)
    const seeds = [{ lo: 0, hi: 3, to: bench.self.session }]
    bench.receive(author.write({ type: 'job', spec, at: 0, seeds }))
    expect(bench.find('loadPlan')).toMatchObject({ plan: spec.task.bundle, from: other.peer })
    expect(bench.all('startChunk')).toEqual([])
    expect(bench.view.mine).toBe(3)
    bench.on({ type: 'planLoaded', job: JOB, plan })
    expect(bench.find('startChunk')).toMatchObject({ lo: 0, node: 0 })
    expect(bench.view.plan).toBe(plan)
  })

  test('a plan that comes after some items were done elsewhere counts them', () => {
    const plan = planOf(node(2, range), callOf(list(0, 2)))
    const bench = new Bench()
    const author = new Feed(other)
    const seeds = [{ lo: 2, hi: 3, to: bench.self.session }]
    const job = author.write({ type: 'job', spec: specFor(plan), at: 0, seeds })
    bench.receive(job, author.done(0, 2, job))
    bench.on({ type: 'planLoaded', job: JOB, plan })
    expect(bench.find('startChunk')).toMatchObject({ lo: 2, hi: 3, node: 1 })
  })

  test('fail where the plan makes no sense', () => {
    const bench = new Bench()
    const author = new Feed(other)
    const spec = specFor(planOf(node(3, range)))
    const seeds = [{ lo: 0, hi: 2, to: bench.self.session }]
    const job = author.write({ type: 'job', spec, at: 0, seeds })
    bench.receive(job)
    bench.on({ type: 'planLoaded', job: JOB, plan: planOf(node(2, range)) })
    expect(bench.bodies).toMatchObject([
      { type: 'fail', ranges: [{ lo: 0, hi: 2, code: 'ERR_MESH_PLAN_INVALID' }] },
    ])
    // And so does what comes later.
    bench.receive(author.grant(2, 3, job, bench.self.session))
    expect(bench.bodies).toMatchObject([{ type: 'fail', ranges: [{ lo: 2, hi: 3 }] }])
    expect(bench.view).toMatchObject({ state: 'finished', failed: 3 })
  })

  test('fail where the plan cannot be read', () => {
    const bench = new Bench()
    const author = new Feed(other)
    const spec = specFor(planOf(node(3, range)))
    const seeds = [{ lo: 0, hi: 3, to: bench.self.session }]
    bench.receive(author.write({ type: 'job', spec, at: 0, seeds }))
    const fault = { code: 'ERR_MESH_INPUT_LOST', message: 'nobody has it' }
    bench.on({ type: 'planInvalid', job: JOB, ...fault })
    expect(bench.bodies).toMatchObject([{ type: 'fail', ranges: [{ lo: 0, hi: 3, ...fault }] }])
  })

  test('wait again when what they need is open again, unless they run', () => {
    const plan = planOf(node(1, range), callOf(item(0)), callOf(item(0)), callOf(item(1)))
    const bench = new Bench()
    const far = new Feed(other)
    const seeds = [{ lo: 1, hi: 4, to: bench.self.session }]
    const job = far.write({ type: 'job', spec: specFor(plan), at: 0, seeds })
    const done = far.doneElsewhere(0, 1, job)
    bench.receive(job, done)
    bench.on({ type: 'planLoaded', job: JOB, plan })
    const { chunk } = bench.find('startChunk')
    bench.receive(far.write({ type: 'lost', ranges: [{ lo: 0, hi: 1, done: done.hash }] }))
    // Item 1 ran on and is done, so 3 is ready; 2 lacks its input once more.
    bench.end(chunk, 2, 5)
    expect(bench.find('startChunk')).toMatchObject({ lo: 3, hi: 4 })
    bench.end(bench.find('startChunk').chunk, 4, 5)
    expect(bench.all('startChunk')).toEqual([])
    bench.receive(far.done(0, 1, job))
    expect(bench.find('startChunk')).toMatchObject({ lo: 2, hi: 3 })
  })

  test('whose inputs cannot be had just now let others go first', () => {
    const plan = planOf(node(1, range), callOf(item(0)), callOf(item(0)), callOf(item(0)))
    const bench = new Bench()
    const far = new Feed(other)
    bench.see(other)
    const seeds = [{ lo: 1, hi: 4, to: bench.self.session }]
    const job = far.write({ type: 'job', spec: specFor(plan), at: 0, seeds })
    bench.receive(job, far.doneElsewhere(0, 1, job))
    bench.on({ type: 'planLoaded', job: JOB, plan })
    const { chunk } = bench.find('startChunk')
    bench.on({ type: 'chunkReturned', chunk, retryMs: 1_000 })
    expect(bench.view.mine).toBe(3)
    const later = bench.pass(200).filter(({ type }) => type === 'startChunk')
    expect(later).toMatchObject([{ lo: 2, hi: 3 }])
    bench.end(bench.all('startChunk')[0]?.chunk ?? (later[0] as { chunk: number }).chunk, 3, 5)
    bench.end(bench.find('startChunk').chunk, 4, 5)
    expect(bench.all('startChunk')).toEqual([])
    // Asked for work meanwhile, it has some: the other may have the input.
    bench.steal(other, 1)
    expect(bench.find('startChunk')).toMatchObject({ lo: 1, hi: 2 })
    bench.on({ type: 'chunkReturned', chunk: bench.find('startChunk').chunk, retryMs: 1_000 })
    const again = bench.pass(1_100).filter(({ type }) => type === 'startChunk')
    expect(again).toMatchObject([{ lo: 1, hi: 2 }])
  })

  test('ready or not, are handed on by a peer that stops', () => {
    const bench = new Bench(factsOf('self', { slots: 1 }))
    submit(bench, planOf(node(3, range), callOf(list(0, 3))))
    bench.on({ type: 'stopping' })
    const released = bench.bodies.flatMap((body) => (body.type === 'release' ? body.ranges : []))
    expect(released.map(({ lo, hi }) => [lo, hi])).toEqual([
      [2, 3],
      [3, 4],
    ])
  })

  test('are stolen only when they are ready', () => {
    const bench = new Bench()
    bench.see(other)
    const plan = planOf(node(1, range), node(50, range), callOf(list(0, 51)))
    const author = new Feed(third)
    const seeds = [{ lo: 0, hi: 52, to: bench.self.session }]
    bench.receive(author.write({ type: 'job', spec: specFor(plan), at: 0, seeds }))
    bench.steal(other, 1)
    expect(bench.find('answerSteal').granted).toBe(false)
    bench.on({ type: 'planLoaded', job: JOB, plan })
    bench.steal(other, 2)
    const granted = bench.bodies.flatMap((body) => (body.type === 'grant' ? body.ranges : []))
    expect(granted.at(-1)!.hi).toBe(51)
  })

  test('go to whoever left word, as they become ready', () => {
    const bench = new Bench()
    bench.see(other)
    const author = new Feed(third)
    const plan = planOf(node(1, range), callOf(item(0)), callOf(item(0)))
    const seeds = [{ lo: 0, hi: 3, to: bench.self.session }]
    bench.receive(author.write({ type: 'job', spec: specFor(plan), at: 0, seeds }))
    bench.on({ type: 'planLoaded', job: JOB, plan })
    const { chunk } = bench.find('startChunk')
    const { peer, session } = other
    bench.on({ type: 'lifelineReceived', from: peer, session, job: JOB, rate: undefined, idle: 1 })
    expect(bench.bodies).toEqual([])
    bench.end(chunk, 1, 500)
    expect(bench.find('startChunk')).toMatchObject({ lo: 1, hi: 2 })
    expect(bench.bodies).toContainEqual(expect.objectContaining({ type: 'grant', to: session }))
    expect(bench.all('push').map(({ to }) => to)).toContain(peer)
  })

  test('that are fast are not handed on one by one, though no chunk of them has ended', () => {
    const bench = new Bench()
    bench.see(other)
    submit(bench, planOf(node(1_000, range), callOf(list(0, 1_000))))
    const { chunk, lo } = bench.find('startChunk')
    bench.now += 5
    bench.on({ type: 'chunkProgressed', chunk, reached: lo + 300 })
    bench.steal(other, 1)
    expect(bench.find('answerSteal').granted).toBe(false)
  })

  test('a fixed chunk size counts from the first item of the node', () => {
    const bench = new Bench(factsOf('self', { slots: 9 }))
    const own = { options: { chunkSize: 2 } }
    submit(bench, planOf(node(3, range), node(5, range, own)), { chunkSize: 4 })
    expect(bench.all('startChunk').map(({ lo, hi }) => [lo, hi])).toEqual([
      [0, 3],
      [3, 5],
      [5, 7],
      [7, 8],
    ])
  })

  test('are copied when they are slow elsewhere, but for nodes that forbid it', () => {
    const copied = (speculate: boolean): SchedulerEffect[] => {
      const bench = new Bench()
      bench.see(other)
      const author = new Feed(other)
      const plan = planOf(node(1, range), node(1, each(0, 1), { options: { speculate } }))
      const seeds = [{ lo: 0, hi: 2, to: other.session }]
      const job = author.write({ type: 'job', spec: specFor(plan), at: 0, seeds })
      bench.receive(job)
      bench.on({ type: 'planLoaded', job: JOB, plan })
      const found: SchedulerEffect[] = []
      for (let i = 0; i < 12; i += 1) {
        const steal = bench.all('sendSteal')[0]
        if (steal !== undefined) {
          const { nonce } = steal
          const running = [{ lo: 1, hi: 2, ageMs: 60_000 }]
          const answer = { from: other.peer, job: JOB, nonce, granted: false, running }
          found.push(...bench.on({ type: 'stealAnswered', ...answer }))
        }
        // Until then item 1 is not ready: whoever says that it runs is not copied.
        if (i === 5) {
          expect(found.filter(isCopy)).toEqual([])
          bench.receive(author.done(0, 1, job))
        }
        bench.on({ type: 'heartbeat', from: other.peer, last: false })
        found.push(...bench.pass(6_000))
      }
      return found.filter(isCopy)
    }
    expect(copied(true)).toMatchObject([{ lo: 1, hi: 2 }])
    expect(copied(false)).toEqual([])
  })

  test('each kind of node has its own pace', () => {
    const bench = new Bench()
    const plan = planOf(node(2, range), node(40, range, { steps: [{ task: 1 }] }))
    submit(bench, plan)
    bench.end(bench.find('startChunk').chunk, 1, 500)
    bench.end(bench.find('startChunk').chunk, 2, 500)
    // Slow items before say nothing of this task: the first chunk is a try.
    const first = bench.find('startChunk')
    expect(first).toMatchObject({ lo: 2, budgetMs: 20 })
    bench.end(first.chunk, 12, 10)
    expect(bench.find('startChunk').hi - 12).toBeGreaterThan(5)
  })
})

describe('the word of what others wait for', () => {
  /** Self has a group, other the call of all, third is the author. */
  function chord(slots: number, count = 40) {
    const plan = planOf(node(count, range), callOf(list(0, count)))
    const bench = new Bench(factsOf('self', { slots }))
    bench.see(other)
    bench.see(third)
    const author = new Feed(third)
    const seeds = [
      { lo: 0, hi: count, to: bench.self.session },
      { lo: count, hi: count + 1, to: other.session },
    ]
    bench.receive(author.write({ type: 'job', spec: specFor(plan), at: 0, seeds }))
    bench.on({ type: 'planLoaded', job: JOB, plan })
    return bench
  }

  const pushed = (bench: Bench) => new Set(bench.all('push').map(({ to }) => to))

  test('goes to whoever owns it, within a tick, though the log has many entries', () => {
    const bench = chord(1)
    const { chunk } = bench.find('startChunk')
    for (let nonce = 1; nonce < 4; nonce += 1) bench.steal(other, nonce)
    bench.end(chunk, 1, 5)
    expect(bench.view.mine).toBeGreaterThan(0)
    bench.pass(DONE_TICK_MS)
    expect(bench.bodies.map(({ type }) => type)).toEqual(['done'])
    expect(pushed(bench)).toEqual(new Set([third.peer, other.peer]))
  })

  test('goes at once when a slot here is idle', () => {
    const bench = chord(2, 2)
    expect(bench.all('startChunk')).toHaveLength(2)
    bench.end(bench.find('startChunk').chunk, 1, 5)
    expect(bench.bodies.map(({ type }) => type)).toContain('done')
    expect(pushed(bench)).toEqual(new Set([third.peer, other.peer]))
  })

  test('is gossiped soon when its owner is not connected', () => {
    const bench = chord(1)
    const { chunk } = bench.find('startChunk')
    bench.on({ type: 'peerGone', peer: other.peer, refused: false })
    bench.end(chunk, 1, 5)
    bench.pass(DONE_TICK_MS)
    expect(bench.timers.get(`publish|${JOB}`)).toBeLessThanOrEqual(bench.now + 50)
  })

  test('of a failure goes the same way', () => {
    const bench = chord(1)
    const { chunk } = bench.find('startChunk')
    const lost = { hi: 4, code: 'ERR_MESH_INPUT_LOST', message: 'gone' }
    bench.on({ type: 'chunkReturned', chunk, retryMs: 0, lost })
    expect(bench.all('push').map(({ to }) => to)).toContain(other.peer)
  })
})

describe('results of a composition', () => {
  test('stay with those that compute, but for what the submitter asked for', () => {
    const bench = new Bench(factsOf('self', { slots: 1 }))
    const author = factsOf('author', { slots: 0 })
    bench.see(author)
    bench.see(other)
    const plan = planOf(node(1, range), callOf(item(0)))
    const feed = new Feed(author)
    const seeds = [{ lo: 0, hi: 2, to: bench.self.session }]
    bench.receive(feed.write({ type: 'job', spec: specFor(plan), at: 0, seeds }))
    bench.on({ type: 'planLoaded', job: JOB, plan })
    const { chunk } = bench.find('startChunk')
    bench.end(chunk, 1, 5, 5_000)
    const between = bench.find('placeResult')
    expect(between.keepers).toEqual([bench.self.peer, other.peer])
    const hash = 'b'.repeat(64) as never
    const result = { kind: 'blob', hash, sizeBytes: 5_000, keepers: between.keepers } as const
    bench.on({ type: 'chunkPlaced', chunk, result })
    bench.end(bench.find('startChunk').chunk, 2, 5, 5_000)
    expect(bench.find('placeResult').keepers[0]).toBe(author.peer)
  })

  test('are with the submitter too where nobody else is', () => {
    const bench = new Bench(factsOf('self', { slots: 1 }))
    const author = factsOf('author', { slots: 0 })
    bench.see(author)
    const plan = planOf(node(1, range), callOf(item(0)))
    const feed = new Feed(author)
    const seeds = [{ lo: 0, hi: 2, to: bench.self.session }]
    bench.receive(feed.write({ type: 'job', spec: specFor(plan), at: 0, seeds }))
    bench.on({ type: 'planLoaded', job: JOB, plan })
    bench.end(bench.find('startChunk').chunk, 1, 5, 5_000)
    expect(bench.find('placeResult').keepers).toEqual([bench.self.peer, author.peer])
  })
})

describe('seeds of a composition', () => {
  const peers = [factsOf('a', { slots: 2 }), factsOf('b', { slots: 2 })]
  const self = factsOf('self', { slots: 4 })

  test('split large nodes in the same proportions, and leave small ones together', () => {
    const plan = planOf(node(800, range), node(800, each(0, 800)), callOf(list(0, 1_600)))
    const seeds = planSeeds(plan, self, peers)
    const sizes = seeds.map(({ lo, hi }) => [lo, hi])
    expect(sizes).toEqual([
      [0, 400],
      [400, 600],
      [600, 800],
      [800, 1_200],
      [1_200, 1_400],
      [1_400, 1_600],
      [1_600, 1_601],
    ])
    expect(seeds[0]!.to).toBe(seeds[3]!.to)
    expect(seeds[1]!.to).toBe(seeds[4]!.to)
    expect(seeds.at(-1)!.to).toBe(self.session)
  })

  test('leave a chain on one peer, and deal out what does not wait for its neighbour', () => {
    const chain = [node(1, range)]
    for (let k = 0; k < 300; k += 1) chain.push(callOf(item(k)))
    expect(planSeeds(planOf(...chain), self, peers)).toHaveLength(1)
    const layers = [node(1, range)]
    for (let k = 0; k < 300; k += 1) layers.push(callOf(item(Math.max(0, k - 50))))
    const seeds = planSeeds(planOf(...layers), self, peers)
    expect(new Set(seeds.map(({ to }) => to)).size).toBe(3)
    expect(seeds.length).toBeGreaterThan(50)
  })

  test('cover every item once, and are never too many', () => {
    const many = Array.from({ length: 40 }, (_, i) => factsOf(`p${i}`, { slots: 1 + (i % 3) }))
    const small = Array.from({ length: 1_000 }, () => node(1, range))
    const large = Array.from({ length: 60 }, (_, i) => node(1_000 + i, range))
    const mixed = large.flatMap((one, i) => [one, ...small.slice(0, i)])
    for (const nodes of [small, large, mixed, [node(1, range)]]) {
      for (const others of [[], many.slice(0, 1), many]) {
        for (const me of [self, factsOf('self', { slots: 0 })]) {
          const plan = planOf(...nodes)
          const seeds = planSeeds(plan, me, others)
          if (others.length === 0 && me.slots === 0) {
            expect(seeds).toEqual([])
            continue
          }
          expect(seeds.length).toBeLessThanOrEqual(MAX_SEEDS)
          let at = 0
          for (const { lo, hi } of seeds) {
            expect(lo).toBe(at)
            expect(hi).toBeGreaterThan(lo)
            at = hi
          }
          expect(at).toBe(itemsOfPlan(plan))
        }
      }
    }
  })
})

test('ten thousand nodes cost less than a millisecond each', () => {
  const nodes: PlanNode[] = [node(100, range)]
  for (let k = 0; k < 10_000; k += 1) {
    nodes.push(callOf(item(k), item(k + 50), item(k + 99)))
  }
  const plan = planOf(...nodes)
  const bench = new Bench(factsOf('self', { slots: 2 }))
  const started = performance.now()
  submit(bench, plan)
  const running = [...bench.all('startChunk')]
  while (running.length > 0) {
    const { chunk, hi } = running.shift()!
    bench.end(chunk, hi, 1)
    running.push(...bench.all('startChunk'))
    if (running.length === 0 && bench.view.state !== 'finished') {
      bench.pass(20)
      running.push(...bench.all('startChunk'))
    }
  }
  expect(bench.view.state).toBe('finished')
  const msPerNode = (performance.now() - started) / nodes.length
  if (process.env.MESHWORK_FIGURES !== undefined) console.log(`${msPerNode.toFixed(3)} ms a node`)
  expect(msPerNode).toBeLessThan(1)
})

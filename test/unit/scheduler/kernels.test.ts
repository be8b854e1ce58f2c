import { describe, expect, it } from 'vitest'
import { seedGrants } from '../../../src/scheduler/seeds.ts'
import type { JobSpec, KernelTask } from '../../../src/scheduler/types.ts'
import { simHash } from '../../sim/seal.ts'
import { Bench, Feed, factsOf, JOB, specOf } from './builders.ts'

function kernel(requiresGpu = false): KernelTask {
  const bundle = simHash('kernel') as KernelTask['bundle']
  const rest = { arrays: [], output: [8, 100], requiresGpu }
  return { kind: 'kernel', name: 'kernel', bundle, bundleBytes: 1, ...rest }
}

const kernelJob = (requiresGpu = false): JobSpec => ({ ...specOf(100), task: kernel(requiresGpu) })
const needs = (requiresGpu = false) => ({ task: kernel(requiresGpu), options: {} })
const submitted = (spec: JobSpec) => ({ type: 'submitted', job: JOB, spec, at: 7 }) as const

const plain = factsOf('plain', { slots: 2, speed: 1 })
const graphic = factsOf('graphic', { slots: 2, speed: 1, kernelSpeed: 18 })

describe('items of a kernel', () => {
  it('are seeded by what each peer computes of kernels; those of other tasks by slots', () => {
    expect(seedGrants(100, 1, plain, [graphic], needs())).toEqual([
      { lo: 0, hi: 10, to: plain.session },
      { lo: 10, hi: 100, to: graphic.session },
    ])
    expect(seedGrants(100, 1, plain, [graphic])).toEqual([
      { lo: 0, hi: 50, to: plain.session },
      { lo: 50, hi: 100, to: graphic.session },
    ])
  })

  it('that need a GPU go to peers with one alone', () => {
    expect(seedGrants(100, 1, plain, [graphic], needs(true))).toEqual([
      { lo: 0, hi: 100, to: graphic.session },
    ])
    expect(seedGrants(100, 1, plain, [factsOf('third')], needs(true))).toEqual([])
  })

  it('are stolen by a GPU in proportion', () => {
    const bench = new Bench(plain)
    bench.on(submitted(kernelJob()))
    bench.see(graphic)
    bench.steal(graphic, 1)
    const [grant] = bench.bodies
    expect(grant).toMatchObject({ type: 'grant', to: graphic.session })
    const items = grant?.type === 'grant' ? grant.ranges.map(({ lo, hi }) => hi - lo) : []
    const left = 100 - bench.view.runningHere.reduce((sum, { lo, hi }) => sum + hi - lo, 0)
    expect(items.reduce((a, b) => a + b, 0)).toBe(Math.floor(left * 0.9))
  })
})

describe('a peer on which a kernel does not run', () => {
  it('hands on what it has of the job, and takes nothing of it for a while', () => {
    const bench = new Bench(plain)
    bench.on(submitted(kernelJob()))
    const chunk = bench.find('startChunk')
    bench.on({ type: 'unfit', job: JOB, ms: 60_000 })
    expect(bench.bodies).toMatchObject([{ type: 'release', ranges: [{ hi: 100 }] }])
    // What ran meanwhile comes back, and goes on too.
    bench.on({ type: 'chunkReturned', chunk: chunk.chunk, retryMs: 0 })
    expect(bench.bodies).toMatchObject([{ type: 'release', ranges: [{ lo: chunk.lo }] }])
    const meanwhile = bench.pass(59_000)
    expect(meanwhile.filter(({ type }) => type === 'startChunk')).toEqual([])
    // Nobody took it.
    const later = bench.pass(5_000)
    expect(later.some(({ type }) => type === 'startChunk')).toBe(true)
  })
})

describe('a kernel that needs a GPU', () => {
  it('waits with a submitter that has none, for a thief that has', () => {
    const bench = new Bench(plain)
    bench.on(submitted(kernelJob(true)))
    expect(bench.all('startChunk')).toEqual([])
    bench.pass(60_000)
    expect(bench.view.runningHere).toEqual([])
    bench.see(graphic)
    bench.steal(graphic, 1)
    expect(bench.bodies).toMatchObject([{ type: 'grant', to: graphic.session }])
  })

  it('starts here as soon as this peer’s own GPU is found', () => {
    const bench = new Bench(plain)
    bench.on(submitted(kernelJob(true)))
    bench.on({ type: 'gpuFound', kernelSpeed: 20 })
    expect(bench.all('startChunk').length).toBeGreaterThan(0)
  })

  it('is not taken from the dead, nor stolen, by a peer without one', () => {
    const bench = new Bench(plain)
    const dead = new Feed(graphic)
    bench.see(graphic)
    bench.receive(dead.write({ type: 'job', spec: kernelJob(true), at: 0, seeds: [] } as never))
    expect(bench.all('sendSteal')).toEqual([])
    bench.on({ type: 'peerGone', peer: graphic.peer, refused: true })
    const effects = bench.pass(60_000)
    expect(bench.entries.filter(({ body }) => body.type === 'reclaim')).toEqual([])
    expect(effects.filter(({ type }) => type === 'startChunk')).toEqual([])
    bench.on({ type: 'gpuFound', kernelSpeed: 20 })
    bench.pass(10_000)
    expect(bench.entries.some(({ body }) => body.type === 'reclaim')).toBe(true)
  })
})

import { describe, expect, it } from 'vitest'
import {
  chain,
  chord,
  chunks,
  defineTask,
  group,
  map,
  reduce,
  signature,
} from '../../../src/index.ts'
import type { Composition } from '../../../src/runtime/composition.ts'
import { decodeSegments, decodeValue } from '../../../src/runtime/segment.ts'
import type { Plan } from '../../../src/scheduler/plan.ts'
import { planFault } from '../../../src/scheduler/plan-check.ts'
import { decodePlan, encodePlan } from '../../../src/store/plan-codec.ts'
import { compiled } from './plans.ts'

const a = defineTask({ name: 'a', run: (x: unknown) => x })
const b = defineTask({ name: 'b', run: (x: unknown) => x })
const c = defineTask({ name: 'c', run: (x: unknown) => x })
const pair = defineTask({ name: 'pair', run: ([x, y]: [unknown, unknown]) => [x, y] })
const sum = defineTask({ name: 'sum', run: (xs: unknown) => xs })
const add = defineTask({ name: 'add', run: ([x, y]: [unknown, unknown]) => [x, y] })

function planOf(composition: Composition): Plan {
  const { plan, items } = compiled(composition)
  expect(planFault(plan, items)).toBeUndefined()
  const bytes = Buffer.from(encodePlan(plan))
  expect(bytes.equals(encodePlan(decodePlan(bytes)))).toBe(true)
  return plan
}

/** A plan in words: nodes as 'count input steps', tasks by name. */
function words({ nodes, tasks }: Plan): string[] {
  const list = (bytes: Uint8Array | undefined) =>
    bytes === undefined ? '' : JSON.stringify(decodeValue(bytes))
  return nodes.map(({ count, input, steps, combine, allowFailures, options }) => {
    const from =
      input.kind === 'each'
        ? input.from.map(({ lo, hi }) => `${lo}..${hi}`).join(',')
        : input.kind === 'values'
          ? JSON.stringify([...decodeSegments(input.segment, 0)].flatMap((it) => it.values))
          : input.kind === 'call'
            ? `(${input.args.map((arg) => (arg.kind === 'value' ? list(arg.bytes) : shapeWords(arg.shape))).join(', ')})`
            : input.kind === 'range'
              ? `from ${input.start}`
              : 'pieces'
    const all = steps.map(
      ({ task, bound, immutable }) =>
        `${tasks[task]!.name}${list(bound)}${immutable === true ? '!' : ''}`,
    )
    const by =
      combine === undefined
        ? ''
        : ` ${tasks[combine.step.task]!.name}/${combine.grain} of ${combine.total}`
    const more = `${allowFailures === true ? ' ?' : ''}${options === undefined ? '' : ` ${JSON.stringify(options)}`}`
    return `${count}: ${from} -> ${all.join(' ')}${by}${more}`
  })
}

function shapeWords(shape: Plan['output']): string {
  if (shape.kind === 'item') return `#${shape.item}`
  if (shape.kind === 'tuple') return `<${shape.parts.map(shapeWords).join(' ')}>`
  return `[${shape.lo}..${shape.hi}${shape.size === undefined ? '' : ` by ${shape.size}`}]`
}

function both(composition: Composition): [string[], string] {
  const plan = planOf(composition)
  return [words(plan), shapeWords(plan.output)]
}

describe('calls', () => {
  it('one call: its argument, or the tuple of them, is the item', () => {
    expect(both(a.s(1))).toEqual([['1: [1] -> a'], '#0'])
    expect(both(pair.s(1, 2))).toEqual([['1: [[1,2]] -> pair'], '#0'])
    expect(both(a.s())).toEqual([['1: [null] -> a'], '#0'])
  })

  it('a composition among the arguments is an input, a list of them one list', () => {
    expect(both(pair.s(a.s(1), 2))).toEqual([['1: [1] -> a', '1: (#0, 2) -> pair'], '#1'])
    expect(both(sum.s([a.s(1), b.s(2)]))).toEqual([
      ['1: [1] -> a', '1: [2] -> b', '1: ([0..2]) -> sum'],
      '#2',
    ])
  })

  it('the same object is computed once', () => {
    const root = a.s(1)
    const left = b.s(root)
    expect(both(pair.s(left, pair.s(left, root)))).toEqual([
      ['1: [1] -> a', '1: (#0) -> b', '1: (#1, #0) -> pair', '1: (#1, #2) -> pair'],
      '#3',
    ])
  })
})

describe('groups and maps', () => {
  it('calls of one task with the same options are one node', () => {
    const members = Array.from({ length: 1000 }, (_, i) => a.s(i))
    const [nodes, output] = both(group(members))
    expect(nodes).toHaveLength(1)
    expect(nodes[0]).toMatch(/^1000: \[0,1,2,/)
    expect(output).toBe('[0..1000]')
  })

  it('other tasks and options are other nodes, the order stays', () => {
    expect(both(group(a.s(1), b.s(2), a.s(3), a.s(4).set({ retries: 2 })))).toEqual([
      ['2: [1,3] -> a', '1: [2] -> b', '1: [4] -> a {"retries":2}'],
      '<#0 #2 #1 #3>',
    ])
  })

  it('calls of one task in different groups are one node too', () => {
    expect(both(group(group(a.s(1), a.s(2)), group(a.s(3))))).toEqual([
      ['3: [1,2,3] -> a'],
      '<[0..2] [2..3]>',
    ])
  })

  it('map, starmap with bound arguments, chunks', () => {
    expect(both(map(a, { range: [5, 9] }))).toEqual([['4: from 5 -> a'], '[0..4]'])
    expect(both(map(pair.s(7), [1, 2]))).toEqual([['2: [1,2] -> pair[7]'], '[0..2]'])
    expect(both(chunks(a, [1, 2, 3], 2))).toEqual([
      ['3: [1,2,3] -> a {"chunkSize":2}'],
      '[0..3 by 2]',
    ])
  })

  it('nothing is a value too', () => {
    expect(both(group([]))).toEqual([['1: ([]) -> same'], '#0'])
    expect(both(chain(map(a, []), b))).toEqual([['1: ([]) -> same'], '#0'])
    expect(both(group(map(a, []), b.s(1)))).toEqual([['1: [1] -> b'], '<[0..0] #0>'])
    expect(both(chord([], sum))).toEqual([['1: ([]) -> sum'], '#0'])
  })
})

describe('chains', () => {
  it('go item by item, in one node where nothing else needs what is between', () => {
    expect(both(chain(map(a, { range: [0, 5] }), b, c.s(9)))).toEqual([
      ['5: from 0 -> a b c[9]'],
      '[0..5]',
    ])
    expect(both(chain(group(a.s(1), a.s(2)), b))).toEqual([['2: [1,2] -> a b'], '[0..2]'])
    const many = Array.from({ length: 1000 }, (_, i) => chain(a.s(i), b))
    expect(both(group(many))[0]).toHaveLength(1)
  })

  it('keep nodes apart whose values are used, or whose options differ', () => {
    const middle = map(a, { range: [0, 3] })
    expect(both(group(chain(middle, b), middle))).toEqual([
      ['3: from 0 -> a', '3: 0..3 -> b'],
      '<[3..6] [0..3]>',
    ])
    expect(both(chain(a.s(1), b.s().set({ retries: 1 })))).toEqual([
      ['1: [1] -> a', '1: 0..1 -> b {"retries":1}'],
      '#1',
    ])
  })

  it('stay apart where calls are tried again or timed, each on its own', () => {
    const nodes = (composition: Composition, job = {}) => compiled(composition, job).plan.nodes
    expect(nodes(chain(a.s(1), b), { retries: 2 })).toHaveLength(2)
    expect(nodes(chain(a.s(1), b), { timeLimitMs: 5 })).toHaveLength(2)
    const timed = { timeLimit: 5 }
    expect(nodes(chain(a.s(1).set(timed), b.s().set(timed)))).toHaveLength(2)
    const over = reduce(map(a, { range: [0, 10] }), add, { grain: 5 })
    expect(nodes(over, { retries: 2 })).toHaveLength(2)
    expect(nodes(over, { timeLimitMs: 5 })).toHaveLength(3)
  })

  it('hand a list on whole with collect', () => {
    const collected = [['2: [1,2] -> a', '1: ([0..2]) -> sum'], '#2']
    expect(both(chain(map(a, [1, 2]), sum.s().set({ collect: true })))).toEqual(collected)
    const whole = chain([map(a, [1, 2]), sum], { collect: true })
    expect(both(whole)).toEqual(collected)
    const typed = defineTask({ name: 'typed', run: (xs: number[]) => xs.length })
    chain([map(typed, [[1]]), typed], { collect: true }) satisfies Composition<number>
    expect(both(chain(map(a, [1, 2]), sum).set({ collect: true }))).toEqual(collected)
  })

  it('hand chunks on one by one', () => {
    expect(both(chain(chunks(a, [1, 2, 3], 2), sum))).toEqual([
      ['3: [1,2,3] -> a {"chunkSize":2}', '1: ([0..2]) -> sum', '1: ([2..3]) -> sum'],
      '[3..5]',
    ])
  })

  it('give each member of a group what precedes', () => {
    expect(both(chain(a.s(1), group(b, pair.s(2))))).toEqual([
      ['1: [1] -> a', '1: 0..1 -> b', '1: 0..1 -> pair[2]'],
      '[1..3]',
    ])
  })

  it('si() runs after, and takes nothing', () => {
    expect(both(chain(a.s(1), b.si(5)))).toEqual([['1: [1] -> a b[5]!'], '#0'])
    expect(both(chain(map(a, [1, 2]), b.si()))).toEqual([
      ['2: [1,2] -> a', '1: ([0..2]) -> b!'],
      '#2',
    ])
    expect(both(chain(a.s(1), pair.si(b.s(2), 3)))).toEqual([
      ['1: [1] -> a', '1: [2] -> b', '1: (#0, #1, 3) -> rest pair'],
      '#2',
    ])
  })

  it('of 10 000 links are compiled, and cut into nodes of 64 steps', () => {
    const links = Array.from({ length: 10_000 }, (_, i) => (i % 2 === 0 ? a.s() : b.s(i)))
    const plan = planOf(chain(links))
    expect(plan.nodes.length).toBe(Math.ceil(10_000 / 64))
    expect(plan.nodes.flatMap(({ steps }) => steps)).toHaveLength(10_000)
  })
})

describe('chords and reductions', () => {
  it('a chord calls its callback with the whole list', () => {
    expect(both(chord(map(a, { range: [0, 3] }), sum.s(), { allowFailures: true }))).toEqual([
      ['3: from 0 -> a', '1: ([0..3]) -> sum ?'],
      '#3',
    ])
    expect(both(chord([a.s(1), b.s(2)], chain(sum, c)))).toEqual([
      ['1: [1] -> a', '1: [2] -> b', '1: ([0..2]) -> sum c'],
      '#2',
    ])
  })

  it('a reduce of few combines their values along a tree', () => {
    expect(both(reduce(map(a, { range: [0, 1000] }), add))).toEqual([
      ['1000: from 0 -> a', '32: 0..1000 ->  add/32 of 1000', '1: 1000..1032 ->  add/32 of 32'],
      '#1032',
    ])
    expect(both(reduce([a.s(1)], add))).toEqual([['1: [1] -> a'], '#0'])
  })

  it('a reduce of many combines grains where they are computed', () => {
    const [nodes] = both(reduce(map(a, { range: [0, 10_000_000] }), add, { allowFailures: true }))
    expect(nodes).toEqual([
      '65360: from 0 -> a add/153 of 10000000 ?',
      '256: 0..65360 ->  add/256 of 65360 ?',
      '1: 65360..65616 ->  add/256 of 256 ?',
    ])
    expect(both(reduce(map(a, { range: [0, 10] }), add, { grain: 4 }))[0]).toEqual([
      '3: from 0 -> a add/4 of 10',
      '1: 0..3 ->  add/3 of 3',
    ])
  })

  it('a reduce of lists makes an item of each, and has an initial value', () => {
    expect(both(reduce(chunks(a, [1, 2, 3], 2), add))[0]).toEqual([
      '3: [1,2,3] -> a {"chunkSize":2}',
      '1: ([0..2]) -> same',
      '1: ([2..3]) -> same',
      '1: 3..5 ->  add/2 of 2',
    ])
    expect(both(reduce([a.s(1)], add, { initial: 5 }))[0]).toEqual([
      '1: [1] -> a',
      '1: (5, #0) -> add',
    ])
    expect(both(reduce(map(a, []), add, { initial: 5 }))[0]).toEqual(['1: (5) -> same'])
  })
})

describe('what cannot be', () => {
  const code = (make: () => unknown) => {
    try {
      make()
    } catch (error) {
      return (error as { code: string }).code
    }
    return 'none'
  }

  it.each([
    ['a reduce of nothing', () => planOf(reduce(map(a, []), add)), 'ERR_MESH_OPTION_INVALID'],
    ['a reduce of one call', () => planOf(reduce(a.s([1]) as never, add)), 'ERR_MESH_TASK_INVALID'],
    ['a map behind a link', () => planOf(chain(a.s(1), map(b, [1]))), 'ERR_MESH_TASK_INVALID'],
    ['a composition within a value', () => planOf(a.s({ x: b.s(1) })), 'ERR_MESH_TASK_INVALID'],
    ['a function as a value', () => planOf(a.s({ x: () => 1 })), 'ERR_MESH_VALUE_UNSENDABLE'],
    ['a wrong option', () => planOf(a.s(1).set({ retries: -1 })), 'ERR_MESH_OPTION_INVALID'],
    ['an unknown option', () => a.s(1).set({ tries: 1 } as never), 'ERR_MESH_OPTION_INVALID'],
    ['an empty chain', () => chain(), 'ERR_MESH_TASK_INVALID'],
    ['no task', () => group([5 as never]), 'ERR_MESH_TASK_INVALID'],
    [
      'a combiner with arguments',
      () => reduce([a.s(1)], add.s(1) as never),
      'ERR_MESH_TASK_INVALID',
    ],
    ['items for si()', () => map(a.si(1), [1]), 'ERR_MESH_TASK_INVALID'],
    ['a task as an argument', () => planOf(a.s(b as never)), 'ERR_MESH_TASK_INVALID'],
    [
      'a chord without a callback',
      () => chord([a.s(1)], undefined as never),
      'ERR_MESH_TASK_INVALID',
    ],
    ['items as a link', () => chain([1, 2] as never, a as never), 'ERR_MESH_TASK_INVALID'],
    [
      'chunks with its size second',
      () => chunks(a, 2 as never, [1] as never),
      'ERR_MESH_OPTION_INVALID',
    ],
    [
      'large arguments',
      () => planOf(chain(a.s(1), b.s('x'.repeat(2 ** 21)))),
      'ERR_MESH_VALUE_TOO_LARGE',
    ],
  ])('%s', (_, make, expected) => {
    expect(code(make)).toBe(expected)
  })

  it('a composition that is an argument of itself', () => {
    const list: unknown[] = []
    const loop = a.s(list)
    list.push(loop)
    expect(() => planOf(loop)).toThrow('an argument of itself')
  })

  it('groups that are too deep', () => {
    let deep: Composition = group(a.s(1), map(b, [1]))
    for (let i = 0; i < 40; i++) deep = group(deep, a.s(i))
    expect(code(() => planOf(deep))).toBe('ERR_MESH_TOO_LARGE')
  })

  it('more nodes than a job may have', () => {
    let deep: Composition = a.s(0)
    for (let i = 0; i < 70_000; i++) deep = pair.s(deep, i)
    expect(code(() => planOf(deep))).toBe('ERR_MESH_TOO_LARGE')
  })
})

describe('large compositions', () => {
  it('a DAG of 10 000 nodes, 5 000 deep, compiles in well under a second', () => {
    let layer: Composition[] = [a.s(1), a.s(2)]
    for (let i = 0; i < 4_999; i++) {
      const [left, right] = layer as [Composition, Composition]
      layer = [pair.s(left, right), pair.s(right, i)]
    }
    const before = process.cpuUsage()
    const plan = planOf(sum.s(layer))
    // Time of the processor, since others may use the machine: some 200 ms with the checks of this test. Far above that something is quadratic.
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(3_000)
    expect(plan.nodes).toHaveLength(1 + 2 * 4_999 + 1)
  })

  it('functions with the same text are one task', () => {
    const calls = Array.from({ length: 50 }, (_, i) => signature((x: number) => x + 1, i))
    expect(planOf(group(calls)).nodes).toHaveLength(1)
  })
})

import { describe, expect, it } from 'vitest'
import {
  type Failure,
  failureLine,
  failureRecord,
  tellFailures,
  tellOrigins,
} from '../../../cli/lib/failures.ts'
import { nowhere } from '../../../cli/lib/sink.ts'
import type { ItemFailure } from '../../../src/client/results.ts'

const failed = (index: number, message: string): ItemFailure => ({
  index,
  code: 'ERR_MESH_ITEM_THREW',
  name: 'Error',
  message,
  attempts: 1,
})

function open() {
  let err = ''
  const context = { stderr: { write: (text: string) => (err += text) } } as never
  const plain = tellFailures({
    ...{ context, sink: nowhere, file: undefined, silent: false },
    aside: (write) => write(),
  })
  return { plain, teller: tellOrigins(plain), err: () => err }
}

describe('what failed in a composition', () => {
  it('is told at the end in the place of what failed with it, each with its task', async () => {
    const { plain, teller, err } = open()
    await teller.tell(failed(0, 'its input failed: num (item 1): no'))
    await teller.tell(failed(1, 'itself'))
    expect(err()).toBe('mesh: item 1 failed: Error: itself\n')
    expect(teller.count).toBe(2)
    const asked: number[][] = []
    await teller.settle({
      async failedFirst(failures) {
        asked.push(failures.map(({ index }) => index))
        return [1, 3].map((item) => ({ ...failed(item, `no ${item}`), task: 'num', item }))
      },
    })
    expect(asked).toEqual([[0]])
    expect(err()).toContain('mesh: item 1 of num failed: Error: no 1\nmesh: item 3 of num failed')
    expect(teller.count).toBe(3)
    expect(plain.first.map((it) => failureRecord(it).task)).toEqual([undefined, 'num', 'num'])
  })

  it('is what failed with it when nobody knows more, and nothing is asked when nothing failed', async () => {
    const { teller, err } = open()
    const lost = { failedFirst: () => Promise.reject(new Error('away')) }
    await teller.settle(lost)
    expect(err()).toBe('')
    await teller.tell(failed(4, 'its input failed: num (item 1): no'))
    await teller.settle(lost)
    expect(err()).toContain('item 4 failed: Error: its input failed: num (item 1): no')
    expect(teller.count).toBe(1)
  })
})

it("the line of a failure has a place in the user's own code where there is one", () => {
  const stack =
    'Error: x\n    at JSON.parse (<anonymous>)\n    at run (task.ts:3:9)\n    at node:internal/x:1:1'
  const failure: Failure = { ...failed(17, 'x'), stack }
  expect(failureLine(failure)).toBe('item 17 failed: Error: x (at run (task.ts:3:9))')
  const inside = { ...failure, stack: 'Error: x\n    at JSON.parse (<anonymous>)' }
  expect(failureLine(inside)).toBe('item 17 failed: Error: x (at JSON.parse (<anonymous>))')
})

import { describe, expect, it } from 'vitest'
import { checkRange, checkSource } from '../../../src/client/input.ts'
import { MAX_ARGS_BYTES } from '../../../src/client/limits.ts'
import { toJobOptions } from '../../../src/client/options.ts'

describe('options of a job', () => {
  it('has none by default', () => {
    expect(toJobOptions({})).toEqual({})
  })

  it.each([
    ['chunkSize', 0, /whole number from 1 to/],
    ['chunkSize', 1.5, /whole number from 1/],
    ['chunkSize', '10', /not "10"/],
    ['chunkSize', 2 ** 31, /to 2147483647/],
    ['timeLimit', 0, /seconds above 0/],
    ['timeLimit', -1, /seconds above 0/],
    ['timeLimit', Number.NaN, /seconds above 0/],
    ['timeLimit', 1e9, /at most 604800/],
    ['memory', 63, /MiB from 64/],
    ['memory', Number.POSITIVE_INFINITY, /MiB from 64/],
    ['retries', -1, /whole number from 0 to 1000/],
    ['maxItemsPerWorker', 0, /whole number from 1/],
    ['replicas', 0, /whole number from 1 to 8/],
    ['replicas', 9, /whole number from 1 to 8/],
    ['speculate', 'no', /true or false/],
    ['signal', {}, /AbortSignal/],
    ['detach', 1, /true or false/],
    ['onProgress', 'x', /function/],
    ['chunksize', 5, /no option "chunksize": there are args, chunkSize/],
    ['args', () => 1, /args: .*function/],
    ['args', new Uint8Array(MAX_ARGS_BYTES), /may be 4096: put large data into the items/],
  ])('refuses %s = %o', (option, value, message) => {
    expect(() => toJobOptions({ [option]: value })).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_OPTION_INVALID',
        message: expect.stringMatching(message),
        details: { option },
      }),
    )
  })

  it('takes the ends of what is allowed, and a time limit of less than a millisecond as one', () => {
    expect(
      toJobOptions({ retries: 0, chunkSize: 2 ** 31 - 1, timeLimit: 1e-9, memory: 64 }),
    ).toEqual({
      retries: 0,
      chunkSize: 2 ** 31 - 1,
      timeLimitMs: 1,
      memoryBytes: 64 * 2 ** 20,
    })
    expect(toJobOptions({ replicas: 8, speculate: false })).toEqual({
      replicas: 8,
      speculate: false,
    })
    expect(toJobOptions({ args: new Uint8Array(MAX_ARGS_BYTES - 8) }).args).toBeDefined()
  })
})

describe('a range', () => {
  it('is half-open, and may be empty or begin below zero', () => {
    expect(checkRange([0, 10])).toEqual({ start: 0, count: 10 })
    expect(checkRange([-3, -3])).toEqual({ start: -3, count: 0 })
  })

  it.each([
    [[10, 0], /reversed: \[0, 10\] would be right/],
    [[0, 1.5], /number 1.5 is no whole number/],
    [[0, Number.NaN], /no whole number/],
    [[0, 2 ** 53], /no whole number that is exact/],
    [[-(2 ** 53) + 1, 2 ** 53 - 1], /too long/],
    [['0', 5], /"0" is no whole number/],
    [[1], /a range is \[from, to\]/],
    ['0..5', /it is "0..5"/],
    [undefined, /a range is/],
  ])('%o is refused', (range, message) => {
    expect(() => checkRange(range)).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_RANGE_INVALID',
        message: expect.stringMatching(message),
      }),
    )
  })
})

describe('an input', () => {
  it.each([
    ['a string', 'abc', 'ERR_MESH_INPUT_INVALID'],
    ['nothing', undefined, 'ERR_MESH_INPUT_INVALID'],
    ['a number', 5, 'ERR_MESH_INPUT_INVALID'],
    ['an empty object', {}, 'ERR_MESH_INPUT_INVALID'],
    ['two inputs', { range: [0, 1], items: [] }, 'ERR_MESH_INPUT_INVALID'],
    ['a string as items', { items: 'abc' }, 'ERR_MESH_INPUT_INVALID'],
    ['items that are no list', { items: 7 }, 'ERR_MESH_INPUT_INVALID'],
    ['lines that are none', { lines: 7 }, 'ERR_MESH_INPUT_INVALID'],
    ['a bad range', { range: [1, 0] }, 'ERR_MESH_RANGE_INVALID'],
    ['a missing file', { lines: '/no/such/file' }, 'ERR_MESH_INPUT_NOT_FOUND'],
    ['a folder', { lines: '/' }, 'ERR_MESH_INPUT_NOT_FOUND'],
  ])('%s is refused', async (_, input, code) => {
    await expect(checkSource(input as never)).rejects.toMatchObject({ code })
  })

  it('says which line is none', async () => {
    const source = await checkSource({ lines: ['a', 5 as never] })
    if (source.kind !== 'items') throw new Error('not items')
    expect(() => [...(source.items as Iterable<unknown>)]).toThrow(
      'line 2 is number 5, not a string',
    )
  })
})

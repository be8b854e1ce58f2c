import { describe, expect, it } from 'vitest'
import { controllersOf } from '../../../src/client/controllers.ts'
import { checkRange, checkSource } from '../../../src/client/input.ts'
import { MAX_ARGS_BYTES } from '../../../src/client/limits.ts'
import { toJobOptions } from '../../../src/client/options.ts'
import { FakeBackend } from '../../helpers/fake-backend.ts'

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
    ['softTimeLimit', 0, /softTimeLimit must be a number of seconds above 0/],
    ['jobTimeLimit', -1, /jobTimeLimit must be a number of seconds from 0/],
    ['jobTimeLimit', 0, /jobTimeLimit is seconds above 0/],
    ['priority', 10, /priority must be a whole number from 0 to 9/],
    ['priority', 1.5, /whole number from 0 to 9/],
    ['rateLimit', 0, /rateLimit must be a number of items per second from 0.001/],
    ['rateLimit', 0.0009, /from 0.001/],
    ['maxFailures', -1, /maxFailures must be a whole number from 0 up, or a share/],
    ['maxFailures', '101%', /a share of the items such as '5%', not "101%"/],
    ['maxFailures', '5', /not "5"/],
    ['startAt', '2030-01-01', /startAt must be a Date, not "2030-01-01"; startIn/],
    ['startAt', new Date(Number.NaN), /not an invalid one/],
    ['startIn', -1, /startIn must be a number of seconds from 0/],
    ['expires', Number.POSITIVE_INFINITY, /expires must be a number of seconds/],
    ['controllers', [], /controllers must be a list of 1 to 32 peers/],
    ['controllers', ['you'], /"you" is no peer: give its id/],
    ['controllers', ['abcdef0'], /first 8 characters or more/],
    ['key', '', /key must be a string of 1 to 200 bytes/],
    ['key', 'ü'.repeat(101), /key has 202 bytes, and may have 200/],
    ['key', 7, /not number 7/],
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

describe('options that say when, how fast and where', () => {
  it('travel in milliseconds, bytes and thousandths', () => {
    expect(
      toJobOptions({
        retries: 3,
        backoff: 0.5,
        softTimeLimit: 1.5,
        timeLimit: 2,
        jobTimeLimit: 60,
        priority: 9,
        rateLimit: 0.25,
        maxFailures: 10,
        startIn: 1.5,
        expires: 3600,
        requires: { cores: 4, memory: 8192, gpu: true, labels: { zone: 'eu' } },
        key: 'k',
      }),
    ).toEqual({
      retries: 3,
      backoff: { delayMs: 500, factorPercent: 200, maxMs: 600_000, jitterPercent: 50 },
      softTimeLimitMs: 1500,
      timeLimitMs: 2000,
      jobTimeLimitMs: 60_000,
      priority: 9,
      ratePer1000s: 250,
      maxFailures: 10,
      delayMs: 1500,
      resultTtlMs: 3_600_000,
      requires: { cores: 4, memoryBytes: 2 ** 33, gpu: true, labels: { zone: 'eu' } },
      key: 'k',
    })
    const at = new Date('2030-01-01T00:00:00Z')
    expect(toJobOptions({ startAt: at })).toEqual({ startAt: at.getTime() })
    expect(toJobOptions({ maxFailures: '2.5%' })).toEqual({ maxFailuresPpm: 25_000 })
    expect(toJobOptions({ maxFailures: '0%' })).toEqual({ maxFailuresPpm: 0 })
    // What asks for nothing is not asked for.
    expect(toJobOptions({ requires: { gpu: false } })).toEqual({ requires: {} })
  })

  it('a first wait that is longer than the usual longest is the longest', () => {
    expect(toJobOptions({ retries: 1, backoff: { delay: 900, factor: 1, jitter: 0 } })).toEqual({
      retries: 1,
      backoff: { delayMs: 900_000, factorPercent: 100, maxMs: 900_000, jitterPercent: 0 },
    })
  })

  it.each<[object, string, RegExp]>([
    [{ backoff: 1 }, 'backoff', /there is none: give retries/],
    [{ backoff: 1, retries: 0 }, 'backoff', /give retries/],
    [{ backoff: 'x', retries: 1 }, 'backoff', /a number of seconds, or \{ delay/],
    [{ backoff: { wait: 1 }, retries: 1 }, 'backoff', /backoff has no "wait"/],
    [{ backoff: {}, retries: 1 }, 'backoff.delay', /backoff.delay must be a number of seconds/],
    [{ backoff: { delay: 1, factor: 0.5 }, retries: 1 }, 'backoff.factor', /from 1 to 100/],
    [{ backoff: { delay: 1, jitter: 2 }, retries: 1 }, 'backoff.jitter', /from 0 to 1/],
    [{ backoff: { delay: 5, max: 1 }, retries: 1 }, 'backoff.max', /must not be below/],
    [{ softTimeLimit: 2, timeLimit: 2 }, 'softTimeLimit', /must be below timeLimit \(2 s\)/],
    [{ startAt: new Date(0), startIn: 1 }, 'startAt', /both say when to start/],
    [{ requires: [] }, 'requires', /an object \{ cores, memory, gpu, labels \}/],
    [{ requires: { cpu: 1 } }, 'requires', /requires has no "cpu"/],
    [{ requires: { cores: 0 } }, 'requires.cores', /whole number from 1/],
    [{ requires: { memory: 0 } }, 'requires.memory', /MiB from 1/],
    [{ requires: { gpu: 1 } }, 'requires.gpu', /true or false/],
    [{ requires: { labels: { zone: 1 } } }, 'requires.labels', /a string as its value/],
    [{ requires: { labels: { '': 'x' } } }, 'requires.labels', /label ""/],
    [
      { requires: { labels: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [i, ''])) } },
      'requires.labels',
      /has 17 labels, and may have 16/,
    ],
  ])('%j is refused', (options, option, message) => {
    expect(() => toJobOptions(options)).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_OPTION_INVALID',
        message: expect.stringMatching(message),
        details: { option },
      }),
    )
  })

  it('controllers are found among the peers', async () => {
    const fake = new FakeBackend()
    const me = 'ab'.repeat(32)
    const other = 'CD'.repeat(32)
    expect(await controllersOf(fake, undefined)).toEqual({})
    expect(await controllersOf(fake, ['me', 'ABABABAB', other])).toEqual({
      controllers: [me, other.toLowerCase()],
    })
    await expect(controllersOf(fake, ['cdcdcdcd'])).rejects.toMatchObject({
      code: 'ERR_MESH_OPTION_INVALID',
      message: expect.stringContaining('no peer "cdcdcdcd" is known here'),
    })
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

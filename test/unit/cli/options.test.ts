import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { chooseInput, looksLikeNdjson, sniff } from '../../../cli/lib/input.ts'
import { parseRange } from '../../../cli/lib/options.ts'
import { mesh } from './helpers.ts'

describe('--range', () => {
  test.each([
    ['0..1000', [0, 1000]],
    ['5..5', [5, 5]],
    ['-5..5', [-5, 5]],
    ['0..1_000_000', [0, 1_000_000]],
    ['0..1e6', [0, 1_000_000]],
    [' 1 .. 2 ', [1, 2]],
  ])('%s', (text, range) => {
    expect(parseRange(text)).toEqual(range)
  })

  test.each([
    ['5', /'5' is not a range; write --range A\.\.B/],
    ['', /is not a range/],
    ['1..2..3', /is not a range/],
    ['0...10', /three dots/],
    ['..10', /no number on one side/],
    ['0..', /no number on one side/],
    ['10..5', /reversed: did you mean 5\.\.10\?/],
    ['a..b', /'a', which is not a number/],
    ['0..1.5', /is not a range|not a whole number/],
    ['0..99999999999999999999', /not a whole number that can be counted exactly/],
    ['-9007199254740991..9007199254740991', /more items than a number can count/],
  ])('%s is refused', (text, message) => {
    expect(() => parseRange(text)).toThrow(message)
    expect(() => parseRange(text)).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_RANGE_INVALID' }),
    )
  })
})

describe('where items come from', () => {
  test('exactly one place', () => {
    expect(chooseInput({ range: '0..3' }, undefined)).toEqual({ kind: 'range', range: [0, 3] })
    expect(chooseInput({ items: 'a.ndjson' }, undefined)).toEqual({
      kind: 'ndjson',
      from: 'a.ndjson',
    })
    expect(chooseInput({ lines: '-' }, undefined)).toEqual({ kind: 'lines', from: '-' })
    expect(chooseInput({}, '-')).toEqual({ kind: 'detect', from: '-' })
    // A kernel needs none: whether that is right is not known yet.
    expect(chooseInput({}, undefined)).toBeUndefined()
    expect(() => chooseInput({ range: '0..3', lines: 'x' }, undefined)).toThrow(
      '--range or --lines, not both',
    )
    expect(() => chooseInput({}, 'words.txt')).toThrow("'words.txt' is not expected here")
  })

  test.each([
    ['{"a":1}', true],
    ['[1]', true],
    ['17', true],
    ['"word"', true],
    ['word', false],
    ['true', false],
    ['null', false],
    ['', false],
    ['{broken', false],
  ])('a first line %s is NDJSON: %s', (line, ndjson) => {
    expect(looksLikeNdjson(line)).toBe(ndjson)
  })

  test('a pipe is looked at by its first line that is not blank, and loses no byte', async () => {
    const text = '\n  \r\n{"a":1}\n{"a":2}\n'
    const { kind, bytes } = await sniff(pieces(text, 3))
    expect(kind).toBe('ndjson')
    expect(await read(bytes)).toBe(text)
    const words = await sniff(pieces('alpha\nbeta', 4))
    expect(words.kind).toBe('lines')
    expect(await read(words.bytes)).toBe('alpha\nbeta')
    expect((await sniff(pieces('17', 1))).kind).toBe('ndjson')
    expect((await sniff(pieces('', 1))).kind).toBe('lines')
  })
})

/** Any task file that is there. */
const TASK = fileURLToPath(new URL('../../../examples/primes/task.ts', import.meta.url))

describe('the command line', () => {
  const wrong: [string[], RegExp][] = [
    [['submit'], /missing required argument 'task'/],
    [['submit', 't.ts', '--range', '1..0'], /reversed/],
    [['submit', TASK], /no items: give one of --range/],
    [['submit', '/nowhere/t.ts'], /there is no task file/],
    [
      ['submit', TASK, '--range', '0..1', '--gpu', 'on'],
      /--gpu must be auto, off or require \(got 'on'\)/,
    ],
    [['join', '--gpu', ''], /--gpu must be auto, off or require \(got ''\)/],
    [['join', '--gpu', 'off', '--gpu-device', 'x'], /--gpu-device names a GPU, but with --gpu off/],
    [['join', '--gpu-device', ' '], /--gpu-device needs the name of a GPU/],
    [['results', 'last', '--gpu', 'on'], /--gpu must be auto, off or require \(got 'on'\)/],
    [['results', 'last', '--colours', 'jet', '--out', 'x.png'], /--colours .*viridis, gray/],
    [['results', 'last', '--colours', 'gray'], /--colours is of a picture: .*--out FILE\.png/],
    [['submit', TASK, '--range-of', '0,1', '--out', 'x.npy'], /--range-of is of a picture/],
    [['submit', TASK, '--range-of', '1,0', '--out', 'x.png'], /the lower first, as in --range-of/],
    [['submit', TASK, '--range-of', '1', '--out', 'x.png'], /must be two numbers/],
    [['submit', TASK, '--range-of', '1,', '--out', 'x.png'], /must be two numbers/],
    [['submit', TASK, '--range', '0..1', '--gpu-device', ''], /--gpu-device needs the name/],
    [
      ['submit', 't.ts', '--range', '0..1', '--chunk-size', '0'],
      /--chunk-size must be at least 1 \(got 0\)/,
    ],
    [
      ['submit', 't.ts', '--range', '0..1', '--chunk-size', 'x'],
      /--chunk-size must be a whole number \(got 'x'\)/,
    ],
    [['submit', 't.ts', '--range', '0..1', '--retries', '-1'], /--retries must be at least 0/],
    [
      ['submit', 't.ts', '--range', '0..1', '--time-limit', '0'],
      /--time-limit must be a time above 0/,
    ],
    [
      ['submit', 't.ts', '--range', '0..1', '--memory', 'lots'],
      /--memory must be a number of megabytes above 0/,
    ],
    [['submit', 't.ts', '--range', '0..1', '--args', '{'], /--args is not JSON/],
    [['submit', 't.ts', '--range', '0..1', '--cores', '9999'], /--cores must be at most 1024/],
    [['join', '--cores', '0'], /--cores must be at least 1: a peer that joins lends cores/],
    [['join', '--nmae', 'x'], /unknown option '--nmae'.*--name/],
    [['jion'], /unknown command 'jion'.*join/],
    [['job'], /missing required argument 'job'/],
  ]

  test.each(wrong)('%j is a usage error, exit 2', async (argv, message) => {
    const run = await mesh(argv)
    expect(run.err).toMatch(message)
    expect(run.err).toMatch(/^mesh: /)
    expect(run.err).not.toMatch(/\n\s+at /)
    expect(run).toMatchObject({ code: 2, out: '', started: [] })
  })

  test.each(wrong)('%j --json: one document on stdout', async (argv, message) => {
    const run = await mesh([...argv, '--json'])
    const { error } = JSON.parse(run.out) as { error: Record<string, unknown> }
    expect(error.code).toMatch(/^ERR_MESH_/)
    expect(error.message).toMatch(message)
    expect(error.details).toBeTypeOf('object')
    expect(run).toMatchObject({ code: 2, err: '' })
  })

  test('no command: the help, exit 2; --help and --version: exit 0', async () => {
    const none = await mesh([])
    expect(none).toMatchObject({ code: 2, out: '' })
    expect(none.err).toContain('submit')
    const help = await mesh(['--help'])
    expect(help).toMatchObject({ code: 0, err: '' })
    expect(help.out).toMatch(/join[\s\S]*submit[\s\S]*results[\s\S]*status/)
    expect((await mesh(['submit', '--help'])).out).toContain('--max-items-per-worker <n>')
    expect((await mesh(['--version'])).out).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  test('a task file that is not there is told before a peer is started', async () => {
    const run = await mesh(['submit', '/nowhere/task.ts', '--range', '0..3'])
    expect(run).toMatchObject({ code: 2, started: [] })
    expect(run.err).toBe('mesh: there is no task file /nowhere/task.ts\n')
  })

  test('--verbose adds the code and the stack', async () => {
    const run = await mesh(['submit', '/nowhere/task.ts', '--range', '0..3', '--verbose'])
    expect(run.err).toMatch(
      /^mesh: there is no task file \/nowhere\/task.ts \(ERR_MESH_TASK_NOT_FOUND\)\n/,
    )
    expect(run.err).toMatch(/\n\s+at /)
  })

  test.each([
    [['--items', '/nowhere/x.ndjson'], /--items \/nowhere\/x\.ndjson cannot be read: ENOENT/],
    [['--lines', '/'], /--lines \/ is a folder/],
    [
      ['--range', '0..1', '--out', '/nowhere/out'],
      /--out \/nowhere\/out cannot be written: there is no folder/,
    ],
    [['--range', '0..1', '--out', 'x', '--errors', './x'], /--out and --errors are both x/],
    [['--range', '0..1', '--errors', '/'], /--errors \/ cannot be written: it is a folder/],
  ])('files that cannot be used: %j', async (flags, message) => {
    const run = await mesh(['submit', import.meta.filename, ...flags])
    expect(run.err).toMatch(message)
    expect(run).toMatchObject({ code: 2, started: [] })
  })
})

async function* pieces(text: string, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < text.length; at += size) yield Buffer.from(text.slice(at, at + size))
}

async function read(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of bytes) parts.push(part)
  return Buffer.concat(parts).toString()
}

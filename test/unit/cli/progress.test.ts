import { describe, expect, test } from 'vitest'
import {
  barLine,
  createProgress,
  type ProgressFacts,
  plainLine,
} from '../../../cli/lib/progress.ts'
import { renderBar, renderFields, renderTable, visibleWidth } from '../../../cli/lib/table.ts'
import { collector, jobInfo } from './helpers.ts'

const CLEAR = '\r\u001b[2K'

describe('the bar', () => {
  test('has everything where there is room', () => {
    expect(barLine(jobInfo(), 120)).toBe(
      'primes  ██████████████░░░░░░░░░░  612 340/1 000 000  61 %  48.2k/s  ETA 9 s  2 peers',
    )
  })

  test.each([100, 80, 60, 40, 20, 5])('never fills %d columns', (columns) => {
    const line = barLine(jobInfo({ failed: 12 }), columns)
    expect(visibleWidth(line)).toBeLessThan(columns)
  })

  test('a name from elsewhere cannot drive the terminal', () => {
    expect(barLine(jobInfo({ name: '\u001b[31mevil\n' }), 120)).toMatch(/^evil {3}█/)
  })

  test('says so when nobody works, and leaves out an unknown ETA', () => {
    const line = barLine(jobInfo({ peersAtWork: 0, etaSeconds: null, itemsPerSecond: 0 }), 120)
    expect(line).toMatch(/0\/s {2}waiting for a slot$/)
  })

  test('is redrawn at most ten times a second, and only when it changes', () => {
    const { drawn, progress, clock } = bar()
    progress.update(facts(0))
    for (let ms = 1; ms <= 1000; ms += 1) {
      clock.now = ms
      progress.update(facts(ms * 100))
    }
    expect(drawn().split(CLEAR).length - 1).toBe(11)
    const before = drawn()
    clock.now = 5000
    progress.update(facts(100_000))
    progress.update(facts(100_000))
    expect(drawn()).toBe(before)
  })

  test('makes way for lines, comes back, and goes at the end', () => {
    const { drawn, progress, clock, stream } = bar()
    progress.update(facts(1000))
    const line = barLine(facts(1000), 100)
    clock.now = 200
    progress.aside(() => stream.write('a line\n'))
    expect(drawn()).toBe(`${CLEAR}${line}${CLEAR}a line\n${CLEAR}${line}`)
    progress.end()
    progress.end()
    expect(drawn()).toBe(`${CLEAR}${line}${CLEAR}a line\n${CLEAR}${line}${CLEAR}`)
  })
})

test('elsewhere a plain line every two seconds, none for a short job', () => {
  const { stream, text } = collector(false)
  const clock = { now: 0 }
  const progress = createProgress({ stream, now: () => clock.now })
  for (clock.now = 0; clock.now <= 5000; clock.now += 100) progress.update(facts(clock.now))
  progress.end()
  const lines = text().trimEnd().split('\n')
  expect(lines).toEqual([`mesh: ${plainLine(facts(2000))}`, `mesh: ${plainLine(facts(4000))}`])
  expect(plainLine(facts(2000))).toBe(
    'primes: 2 000/1 000 000 items (0 %), 48.2k/s, ETA 9 s, 2 peers',
  )
})

test('silent draws nothing', () => {
  const { stream, text } = collector(true)
  const progress = createProgress({ stream, now: () => 0, silent: true })
  progress.update(facts(1))
  progress.aside(() => stream.write('x'))
  progress.end()
  expect(text()).toBe('x')
})

describe('tables', () => {
  test('columns align, colours take no room, nothing trails', () => {
    const red = (text: string): string => `\u001b[31m${text}\u001b[39m`
    const table = renderTable(
      [{ title: 'NAME' }, { title: 'N', align: 'right' }, { title: 'STATE' }],
      [
        [red('a'), '1', 'x'],
        ['long name', '1000', ''],
      ],
    )
    expect(table).toBe(`NAME          N  STATE\n${red('a')}             1  x\nlong name  1000\n`)
  })

  test('fields', () => {
    expect(
      renderFields([
        ['a', '1'],
        ['long', '2'],
        ['', '3'],
      ]),
    ).toBe('  a     1\n  long  2\n        3\n')
    expect(renderFields([])).toBe('')
  })

  test('bars', () => {
    expect(renderBar(1, 4, 8)).toBe('██░░░░░░')
    expect(renderBar(999, 1000, 8)).toBe('███████░')
    expect(renderBar(0, 0, 4)).toBe('████')
    expect(renderBar(9, 4, 4)).toBe('████')
  })
})

function facts(done: number): ProgressFacts {
  return jobInfo({ done })
}

function bar() {
  const { stream, text } = collector(true)
  const clock = { now: 0 }
  return { drawn: text, clock, stream, progress: createProgress({ stream, now: () => clock.now }) }
}

test('tells of a composition how far the parts are that are next to end', () => {
  const node = (name: string, items: number, done: number) => ({
    ...{ name, items, done, lo: 0, failed: 0, needs: [] },
  })
  const nodes = [
    node('read', 9, 9),
    node('fetch', 1000, 340),
    node('sum', 1, 0),
    node('save', 1, 0),
  ]
  const line = plainLine(jobInfo({ nodes }))
  expect(line).toContain(', fetch 340/1 000, sum 0/1, 1 more')
  expect(line).not.toContain('read')
  expect(barLine(jobInfo({ nodes }), 200)).toContain('fetch 340/1 000, sum 0/1, 1 more')
  // Where there is no room the job as a whole is what matters.
  expect(barLine(jobInfo({ nodes }), 70)).not.toContain('fetch')
  expect(plainLine(jobInfo({ nodes: nodes.slice(1, 2) }))).not.toContain('fetch')
})

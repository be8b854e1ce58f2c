import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Bench, lines, type Running } from './cli-helper.ts'

let bench: Bench
let first: Running & { readonly ticket: string }
let second: Running & { readonly ticket: string }
beforeAll(async () => {
  bench = await Bench.create()
  first = await bench.join('first', '--cores', '1')
  second = await bench.join('second', first.ticket, '--cores', '1')
  await first.saysOut(/\+ peer \w{8} second is here, lends 1 core/)
})
afterAll(async () => {
  await bench.dispose()
})

function at(folder: string, ...argv: string[]) {
  return bench.mesh([...argv, '--data', bench.path(folder)])
}

describe('two peers and a submitter in a third folder', () => {
  test('the exact result, with both at work', async () => {
    const task = await bench.task(
      'busy',
      'let n = 0\n    for (let i = 0; i < 2e6; i++) n = (n * 31 + i + item) % 1000003\n    return n',
    )
    const run = await at(
      'third',
      'submit',
      task,
      '--range',
      '0..400',
      '--ticket',
      first.ticket,
      '--cores',
      '0',
      '--no-mdns',
      '--json',
    )
    expect(run.code).toBe(0)
    const document = JSON.parse(run.out)
    expect(document.results).toEqual(Array.from({ length: 400 }, (_, item) => busy(item)))
    // A peer's name may come later than its results; its id does not.
    expect(document.peers).toHaveLength(2)
    await first.saysOut(/> job \w{8} busy: 400 items/)
    await second.saysOut(/= job \w{8} busy finished: 400 items/)
  })

  test('status, peers, jobs, job, ticket of a running peer', async () => {
    const status = JSON.parse((await at('first', 'status', '--json')).out)
    expect(status).toMatchObject({
      pid: first.pid,
      embedded: false,
      peer: { name: 'first', self: true },
    })
    const peers = JSON.parse((await at('first', 'peers', '--json')).out) as {
      name: string
      self: boolean
    }[]
    expect(peers.map((peer) => peer.name)).toEqual(expect.arrayContaining(['first', 'second']))
    expect(peers.filter((peer) => peer.self).map((peer) => peer.name)).toEqual(['first'])
    const [job] = JSON.parse((await at('first', 'jobs', '--json')).out) as {
      id: string
      name: string
    }[]
    expect(job).toMatchObject({ name: 'busy', state: 'finished', items: 400, done: 400 })
    const shown = await at('second', 'job', job!.id.slice(0, 6))
    expect(shown.out).toContain(`job ${job!.id}`)
    expect(shown.out).toMatch(/\n\w{8} {2}(first|second) +\d+ +\d+ %/)
    expect(JSON.parse((await at('first', 'ticket', '--json')).out)).toEqual({
      ticket: first.ticket,
    })
    for (const command of ['status', 'peers', 'jobs']) {
      expect(await at('first', command)).toMatchObject({ code: 0, err: '' })
    }
  })

  test('submit through a running peer, Ctrl-C, and come back', async () => {
    const task = await bench.task(
      'slow',
      "await new Promise((r) => setTimeout(r, 50))\n    console.log('did', item)\n    return item",
    )
    const running = bench.start([
      'submit',
      task,
      '--range',
      '0..100',
      '--data',
      bench.path('first'),
    ])
    await running.saysOut(/^0\n/)
    running.child.kill('SIGINT')
    const run = await running.end
    expect(run.code).toBe(130)
    expect(run.err).toMatch(
      /goes on without this command; come back with: mesh results \w{8} --data/,
    )
    const results = await at('first', 'results', 'last')
    expect(results.code).toBe(0)
    expect(lines(results.out)).toEqual(Array.from({ length: 100 }, (_, n) => n))
    const logs = JSON.parse((await at('first', 'logs', 'last', '--json')).out) as { text: string }[]
    expect(logs.map((line) => line.text)).toEqual(expect.arrayContaining(['did 0', 'did 99']))
  })

  test('--detach: the submitter is gone, the results are there for it later', async () => {
    const task = await bench.task('later', 'return -item')
    const run = await at(
      'fourth',
      'submit',
      task,
      '--range',
      '0..20',
      '--ticket',
      first.ticket,
      '--cores',
      '0',
      '--no-mdns',
      '--detach',
    )
    expect(run.code).toBe(0)
    const results = await at(
      'fourth',
      'results',
      run.out.trim().slice(0, 10),
      '--no-mdns',
      '--cores',
      '0',
    )
    expect(results.err).not.toContain('kept in')
    expect(lines(results.out)).toEqual(Array.from({ length: 20 }, (_, n) => (n === 0 ? 0 : -n)))
  })
})

describe('what goes wrong', () => {
  test('a second join on the folder names the process that has it', async () => {
    const run = await at('first', 'join', '--no-mdns', '--json')
    expect(run.code).toBe(1)
    const { error } = JSON.parse(run.out) as { error: { code: string; message: string } }
    expect(error.code).toBe('ERR_MESH_FOLDER_LOCKED')
    expect(error.message).toContain(String(first.pid))
  })

  test('a damaged ticket, another mesh, an unknown job', async () => {
    const damaged = await at('fifth', 'join', first.ticket.slice(0, -3), '--json')
    expect(damaged.code).toBe(2)
    expect(JSON.parse(damaged.out).error.code).toBe('ERR_MESH_TICKET_DAMAGED')
    const stranger = await bench.join('stranger', '--cores', '1')
    const task = await bench.task('any', 'return 1')
    const mismatch = await at(
      'first',
      'submit',
      task,
      '--range',
      '0..1',
      '--ticket',
      stranger.ticket,
    )
    expect(mismatch.code).toBe(2)
    expect(mismatch.err).toMatch(/^mesh: the ticket is of mesh \w+, but the peer that runs on/)
    stranger.child.kill('SIGTERM')
    expect((await stranger.end).code).toBe(0)
    const unknown = await at('first', 'job', 'ffffffffffff')
    expect(unknown.code).toBe(2)
    expect(unknown.err).toMatch(/^mesh: /)
  })
})

test('leave, and Ctrl-C, end a join cleanly', async () => {
  const leave = await at('second', 'leave', '--json')
  expect(leave.code).toBe(0)
  expect(JSON.parse(leave.out)).toMatchObject({ left: true, pid: second.pid })
  expect(await second.end).toMatchObject({ code: 0, signal: null })
  await first.saysOut(/- peer \w{8} second (is gone|left)/)
  first.child.kill('SIGINT')
  const end = await first.end
  expect(end).toMatchObject({ code: 0, signal: null })
  expect(end.err).toContain('left the mesh')
  const again = await at('first', 'leave', '--json')
  expect(again.code).toBe(1)
  expect(JSON.parse(again.out).error.code).toBe('ERR_MESH_NO_PEER_RUNNING')
})

function busy(item: number): number {
  let n = 0
  for (let i = 0; i < 2e6; i++) n = (n * 31 + i + item) % 1000003
  return n
}

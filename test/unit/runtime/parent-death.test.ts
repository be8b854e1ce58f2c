import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { Harness, isAlive } from './harness.ts'
import { Watcher } from './watcher.ts'

const pool = fileURLToPath(new URL('../../../dist/src/runtime/pool.js', import.meta.url))

it.each([
  ['spins', 'run() { for (;;); }'],
  ['waits', 'run: () => new Promise(() => {})'],
])('a worker whose item %s ends with its peer, even by kill -9', async (_, run) => {
  const watcher = await new Watcher().listen()
  const harness = new Harness()
  const bundle = harness.bundle(`async setup() { ${watcher.connect} }, ${run}`)
  const request = {
    job: 'job',
    bundle,
    lo: 0,
    hi: 1,
    budgetMs: 1000,
    input: { kind: 'range', start: 0 },
    retries: 0,
    peer: { id: '', name: '' },
  }
  const program = `
    import { createRuntime } from ${JSON.stringify(pool)}
    const hooks = { onOutput() {}, onProgress() {}, onLog() {} }
    createRuntime({ slots: 1 }).run(${JSON.stringify(request)}, hooks)`
  const peer = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' })
  const worker = await watcher.next()
  expect(isAlive(worker.pid)).toBe(true)
  const peerEnded = new Promise((resolve) => peer.once('exit', resolve))
  peer.kill('SIGKILL')
  await Promise.all([peerEnded, worker.ended])
  await harness.close()
  await watcher.close()
})

it('a task cannot open the inspector of its peer', async () => {
  const harness = new Harness()
  const { values } = await harness.run(
    'run() { process.kill(process.ppid, "SIGUSR1"); return 1 }',
    {
      hi: 1,
    },
  )
  const { url } = await import('node:inspector')
  expect(values).toEqual([1])
  expect(process.listenerCount('SIGUSR1')).toBeGreaterThan(0)
  expect(url()).toBeUndefined()
  await harness.close()
})

import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { interrupt, LOOPBACK, printed, ROOT, Scene } from './lib/processes.ts'

const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string
}

describe('the package, installed from its tarball into an empty folder without install scripts', () => {
  let scene: Scene
  let folder: string

  beforeAll(async () => {
    scene = new Scene()
    folder = scene.path('installed')
    mkdirSync(folder)
    // --ignore-scripts: prepack would build anew under the feet of the tests that run beside this one.
    const pack = ['pack', '--ignore-scripts', '--pack-destination', scene.folder]
    const packed = await scene.run('npm', pack, { cwd: ROOT })
    expect(packed.code, packed.stderr).toBe(0)
    const tarball = readdirSync(scene.folder).find((name) => name.endsWith('.tgz'))!
    const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
    const installed = await scene.run('npm', [...install, scene.path(tarball)], { cwd: folder })
    expect(installed.code, installed.stderr).toBe(0)
  }, 180_000)
  afterAll(() => scene.end())

  it('says its version', async () => {
    const run = await scene.run('npx', ['--no-install', 'meshwork', '--version'], { cwd: folder })
    expect(run.stdout.trim(), run.stderr).toBe(version)
    expect(run.code).toBe(0)
  })

  it('joins through npx, prints a ticket, and leaves cleanly on Ctrl-C', async () => {
    const args = ['--no-install', 'meshwork', 'join', '--cores', '1', '--data', scene.path('data')]
    const child = scene.start('npx', [...args, ...LOOPBACK], { cwd: folder })
    const [closed, left] = [once(child, 'close'), printed(child, /left the mesh/)]
    const [, ticket] = await printed(child, /mesh join (mesh1\S+)/)
    expect(ticket!.length).toBeGreaterThan(40)
    // To the whole group, as a terminal does: npx itself passes no Ctrl-C on.
    interrupt(child, 'SIGINT')
    await left
    // npx and its shell end by the signal themselves: the exit code is looked at below.
    await closed
  })

  it('exits 0 after Ctrl-C', async () => {
    const bin = join(folder, 'node_modules', '.bin', 'meshwork')
    const child = scene.start(bin, [
      'join',
      '--cores',
      '1',
      '--data',
      scene.path('data'),
      ...LOOPBACK,
    ])
    const closed = once(child, 'close')
    await printed(child, /mesh join mesh1/)
    interrupt(child, 'SIGINT')
    expect(await closed).toEqual([0, null])
  })

  it('runs a job: the command and its worker processes are all there', async () => {
    const task = join(ROOT, 'examples', 'primes', 'task.ts')
    const args = ['--no-install', 'mesh', 'submit', task, '--range', '0..10', '--cores', '1']
    const options = ['--no-mdns', '--data', scene.path('other-data')]
    const run = await scene.run('npx', [...args, ...options], { cwd: folder })
    expect(run.stdout, run.stderr).toBe('168\n135\n127\n120\n119\n114\n117\n107\n110\n112\n')
  })

  it('is a library: a module imports it by its name', async () => {
    const code =
      "import('meshwork').then((m) => console.log(typeof m.defineTask, typeof m.joinMesh))"
    const run = await scene.run(process.execPath, ['-e', code], { cwd: folder })
    expect(run.stdout, run.stderr).toBe('function function\n')
  })
})

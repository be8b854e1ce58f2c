import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { ChaosNetwork } from './network.ts'

const run = promisify(execFile)
const PORT = 4001

let made = 0

/** Whether this process may make network namespaces (Linux, as root, with iproute2). */
export async function canMakeNamespaces(): Promise<boolean> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  const name = `mwtry${process.pid}`
  try {
    await run('ip', ['netns', 'add', name])
    await run('ip', ['-n', name, 'link', 'add', 'br0', 'type', 'bridge'])
    await run('ip', ['-n', name, 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1'])
    return true
  } catch {
    return false
  } finally {
    await run('ip', ['netns', 'del', name]).catch(() => undefined)
  }
}

/**
 * A network namespace for each peer, each with a cable (veth) to a switch (bridge) in one more namespace: nothing of it touches
 * the machine's own network. A cable that is cut leaves the switch, so packets vanish and nobody is told.
 */
export async function createNamespaces(count: number): Promise<ChaosNetwork> {
  const prefix = `mw${process.pid}x${(made += 1)}`
  const hub = `${prefix}h`
  const names = Array.from({ length: count }, (_, i) => `${prefix}p${i}`)
  const added: string[] = []
  const ip = async (...args: string[]): Promise<void> => void (await run('ip', args))
  const close = async (): Promise<void> => {
    for (const name of added.splice(0)) await ip('netns', 'del', name).catch(() => undefined)
  }
  const add = async (name: string): Promise<void> => {
    await ip('netns', 'add', name)
    added.push(name)
  }
  try {
    await add(hub)
    await ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge')
    await ip('-n', hub, 'link', 'set', 'br0', 'up')
    for (const [i, name] of names.entries()) {
      await add(name)
      const cable = ['link', 'add', `v${i}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name]
      await ip('-n', hub, ...cable)
      await ip('-n', hub, 'link', 'set', `v${i}`, 'master', 'br0', 'up')
      await ip('-n', name, 'addr', 'add', `${addressOf(i)}/24`, 'dev', 'eth0')
      await ip('-n', name, 'link', 'set', 'eth0', 'up')
      await ip('-n', name, 'link', 'set', 'lo', 'up')
    }
  } catch (error) {
    await close()
    throw error
  }
  return {
    kind: 'namespaces',
    places: names.map((name, i) => ({
      // `ip netns exec` becomes the command: the process id is the peer's own.
      command: (command, args) => ['ip', ['netns', 'exec', name, command, ...args]],
      flags: ['--listen', `/ip4/${addressOf(i)}/tcp/${PORT}`],
    })),
    occupied: async () => undefined,
    cut: (index) => ip('-n', hub, 'link', 'set', `v${index}`, 'nomaster'),
    heal: (index) => ip('-n', hub, 'link', 'set', `v${index}`, 'master', 'br0'),
    close,
  }
}

function addressOf(index: number): string {
  return `10.99.0.${index + 1}`
}

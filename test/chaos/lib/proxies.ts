import { readdir, readFile, readlink } from 'node:fs/promises'
import { freePort, TcpProxy } from '../../helpers/tcp-proxy.ts'
import type { ChaosNetwork } from './network.ts'

/**
 * A proxy on loopback in front of each peer, which announces the proxy's address in place of its own. Who is cut off is found by
 * whose socket a connection is (/proc, Linux); elsewhere only what comes in is cut.
 */
export async function createProxies(count: number): Promise<ChaosNetwork> {
  const ports: number[] = []
  const proxies: TcpProxy[] = []
  const pids: (number | undefined)[] = []
  const off = new Set<number>()
  for (let i = 0; i < count; i += 1) {
    ports.push(await freePort())
    proxies.push(await TcpProxy.create(ports[i]!))
  }
  const apply = async (): Promise<void> => {
    for (const [i, proxy] of proxies.entries()) {
      if (off.size === 0) proxy.thaw()
      else if (off.has(i)) await proxy.freeze()
      else {
        proxy.thaw()
        await proxy.freeze(async (port) => {
          for (const one of off) if (await owns(pids[one], port, proxy.port)) return true
          return false
        })
      }
    }
  }
  return {
    kind: 'proxies',
    places: ports.map((port, i) => ({
      command: (command, args) => [command, [...args]],
      flags: [
        '--listen',
        `/ip4/127.0.0.1/tcp/${port}`,
        '--announce',
        `/ip4/127.0.0.1/tcp/${proxies[i]!.port}`,
      ],
    })),
    occupied: async (index, pid) => {
      pids[index] = pid
      if (pid === undefined) await proxies[index]!.down()
      else await proxies[index]!.up()
    },
    cut: async (index) => {
      off.add(index)
      await apply()
    },
    heal: async (index) => {
      off.delete(index)
      await apply()
    },
    close: async () => {
      await Promise.all(proxies.map((proxy) => proxy.close()))
    },
  }
}

/** Whether the loopback connection `from` -> `to` was opened by that process. */
async function owns(pid: number | undefined, from: number, to: number): Promise<boolean> {
  if (pid === undefined) return false
  try {
    const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, '0')
    const table = await readFile('/proc/net/tcp', 'utf8')
    const ends = `:${hex(from)} 0100007F:${hex(to)} `
    const line = table.split('\n').find((one) => one.includes(ends))
    const inode = line?.trim().split(/\s+/)[9]
    if (inode === undefined) return false
    for (const fd of await readdir(`/proc/${pid}/fd`)) {
      const link = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')
      if (link === `socket:[${inode}]`) return true
    }
  } catch {
    // No /proc, or the process has ended.
  }
  return false
}

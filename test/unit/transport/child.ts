import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { toHex } from '../../../src/base/bytes.ts'

/** Built by `npm test`. */
const TRANSPORT = new URL('../../../dist/src/node/transport/libp2p-transport.js', import.meta.url)
const CHILD = fileURLToPath(new URL('./child-peer.mjs', import.meta.url))

const children: ChildProcess[] = []

export interface ChildPlan {
  readonly seed?: Uint8Array
  readonly port?: number
  readonly bootstrap?: readonly string[]
}

/** A peer in a process of its own, which says back what it hears; resolves with its address when it listens. */
export async function spawnPeer(
  meshKey: Uint8Array,
  plan: ChildPlan = {},
): Promise<{ child: ChildProcess; address: string }> {
  const { seed = new Uint8Array(randomBytes(32)), port = 0, bootstrap = [] } = plan
  const args = [CHILD, TRANSPORT.href, toHex(meshKey), toHex(seed), String(port), ...bootstrap]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  children.push(child)
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  return { child, address: line.toString().trim() }
}

/** Those of the test that ends. */
export function endChildren(): void {
  for (const child of children.splice(0)) child.kill('SIGKILL')
}

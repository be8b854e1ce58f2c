import { connect } from 'node:net'
import { hostAndPort } from './addresses.ts'
import { PROBE_TIMEOUT_MS } from './limits.ts'

/**
 * Whether a peer's process is gone: true when at least one of its addresses refuses a connection (nobody listens there any
 * more) and none accepts one. A time-out or an unreachable network says nothing: false.
 */
export async function isGone(addresses: readonly string[]): Promise<boolean> {
  const answers = await Promise.all(addresses.map(probe))
  return answers.includes('refused') && !answers.includes('open')
}

function probe(address: string): Promise<'open' | 'refused' | 'silent'> {
  const target = hostAndPort(address)
  if (target === undefined) return Promise.resolve('silent')
  return new Promise((resolve) => {
    const socket = connect(target)
    const settle = (answer: 'open' | 'refused' | 'silent') => () => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(PROBE_TIMEOUT_MS, settle('silent'))
    socket.once('connect', settle('open'))
    socket.once('error', (error: NodeJS.ErrnoException) => {
      settle(error.code === 'ECONNREFUSED' ? 'refused' : 'silent')()
    })
  })
}

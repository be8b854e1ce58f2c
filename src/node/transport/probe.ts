import { connect } from 'node:net'
import { hostAndPort } from './addresses.ts'
import { PROBE_LINGER_MS, PROBE_TIMEOUT_MS, PROBE_TRIES, SEEK_TIMEOUT_MS } from './limits.ts'

type Answer = 'open' | 'refused' | 'dropped' | 'silent'

/**
 * Whether a peer's process is gone: true when at least one of its addresses refuses a connection (nobody listens there any
 * more) and none accepts one. A time-out or an unreachable network says nothing: false.
 */
export async function isGone(addresses: readonly string[]): Promise<boolean> {
  const answers = await Promise.all(addresses.map(probe))
  return answers.includes('refused') && !answers.includes('open')
}

/** Whether a connection can be had at one of them, and is not dropped at once. */
export async function isReachable(addresses: readonly string[]): Promise<boolean> {
  if (addresses.length === 0) return false
  const tries = addresses.map(async (address) => {
    const target = hostAndPort(address)
    const answer = target && (await probeOnce(target, SEEK_TIMEOUT_MS, 0))
    if (answer !== 'open') throw new Error(answer)
  })
  return Promise.any(tries).then(
    () => true,
    () => false,
  )
}

/** A process that dies loses its connections first: its port may still take one, and drops it at once. */
async function probe(address: string): Promise<Answer> {
  const target = hostAndPort(address)
  if (target === undefined) return 'silent'
  for (let tries = 1; tries < PROBE_TRIES; tries++) {
    const answer = await probeOnce(target)
    if (answer !== 'dropped') return answer
  }
  const last = await probeOnce(target)
  return last === 'dropped' ? 'open' : last
}

function probeOnce(
  target: { host: string; port: number },
  timeoutMs = PROBE_TIMEOUT_MS,
  lingerMs = PROBE_LINGER_MS,
): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = connect(target)
    let timer: NodeJS.Timeout | undefined
    let connected = false
    const settle = (answer: Answer) => () => {
      clearTimeout(timer)
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(timeoutMs, settle('silent'))
    socket.resume()
    socket.once('connect', () => {
      connected = true
      timer = setTimeout(settle('open'), lingerMs)
    })
    socket.once('end', settle('dropped'))
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const before = error.code === 'ECONNREFUSED' ? 'refused' : 'silent'
      settle(connected || error.code === 'ECONNRESET' ? 'dropped' : before)()
    })
  })
}

import type { JobInfo, PeerLossInfo } from '../../src/node/types.ts'
import { formatDuration, plural, printable } from './format.ts'
import { CLOCK_LOOK_MS, NAME_CHARS, SLEPT_MS } from './limits.ts'

/** 'peer box2 lost: its 1 234 items go to others' */
export function lossText({ name, items, restarted }: PeerLossInfo): string {
  const peer = `peer ${printable(name, NAME_CHARS)}`
  if (restarted) return `${peer} started again: it goes on with what it had`
  return items > 0 ? `${peer} lost: its ${plural(items, 'item')} go to others` : `${peer} lost`
}

/** Tells each loss of a peer once, as the job's states come in. Those from before are not news. */
export function lossTeller(tell: (text: string) => void): (info: JobInfo) => void {
  let told: Set<string> | undefined
  return ({ peersLost }) => {
    const keys = peersLost.map(({ id, at }) => `${id} ${at}`)
    if (told !== undefined) {
      peersLost.forEach((loss, i) => {
        if (!told!.has(keys[i]!)) tell(lossText(loss))
      })
    }
    told = new Set(keys)
  }
}

/** Tells that the job was paused, or goes on, as its states come in. */
export function pauseTeller(tell: (text: string) => void): (info: JobInfo) => void {
  let was = false
  return ({ state, short }) => {
    const paused = state === 'paused'
    if (paused !== was) {
      if (paused) tell(`job ${short} is paused; \`mesh resume ${short}\` lets it go on`)
      else if (state === 'running') tell(`job ${short} goes on`)
    }
    was = paused
  }
}

/**
 * Tells when this machine slept, or the command was stopped: then nothing was seen of the job meanwhile, and the others went on. A
 * sleep shows on the wall clock, a stop on both.
 * @returns what ends the looking
 */
export function tellSleep(
  clocks: { now(): number; wallClock(): number },
  tell: (text: string) => void,
): () => void {
  let last = { now: clocks.now(), wall: clocks.wallClock() }
  const look = (): void => {
    const here = { now: clocks.now(), wall: clocks.wallClock() }
    const gapMs = Math.max(here.now - last.now, here.wall - last.wall)
    last = here
    if (gapMs < SLEPT_MS) return
    const time = formatDuration(Math.round(gapMs / 1000))
    tell(
      `this machine slept (or was stopped) for ${time}; the others went on, and what they did comes now`,
    )
  }
  const timer = setInterval(look, CLOCK_LOOK_MS)
  timer.unref()
  return () => clearInterval(timer)
}

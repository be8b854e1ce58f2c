import type { Crash, Faults, Leave, Pause } from './faults.ts'
import { copyFolder, type Host } from './host.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

/** What a stopping peer has sent, and the receipts for its last results, have arrived by then. */
const LEAVE_MS = 3_000
/** libuv looks at its timers before it reads; what was read just before the stop is handled first all the same. */
const TIMERS_FIRST = 0.7

/** Puts the faults of a run into its clock. */
export function schedule(world: World, faults: Faults): void {
  const { clock, hosts } = world
  const late = new Set(faults.joins.map(({ peer }) => peer))
  for (const host of hosts) {
    if (late.has(host.index)) host.expected = false
    else world.start(host)
  }
  for (const { peer, atMs } of faults.joins) {
    clock.at(atMs, () => comeBack(world, hosts[peer]!))
  }
  for (const partition of faults.partitions) {
    clock.at(partition.startMs, () => {
      world.network.split(partition)
      world.links.split(partition)
    })
  }
  for (const pause of faults.pauses) schedulePause(world, pause)
  for (const crash of faults.crashes) scheduleCrash(world, crash)
  for (const leave of faults.leaves) scheduleLeave(world, leave)
  for (const { peer, startMs, endMs } of faults.fullDisks) {
    for (const [at, on] of [[startMs, false] as const, [endMs, true] as const]) {
      clock.at(at, () => {
        const { process } = hosts[peer]!
        process?.run('io', () => process.handle({ type: 'lending', on }))
      })
    }
  }
  for (const { peer } of faults.byzantine) {
    clock.at(faults.healMs, () => kill(world, hosts[peer]!, false, true))
  }
}

function schedulePause(world: World, { peer, startMs, endMs, clockStands }: Pause): void {
  const { clock, hosts, prng } = world
  const host = hosts[peer]!
  clock.at(startMs, () => {
    const { process } = host
    if (process === undefined || process.stopped) return
    process.stopped = true
    world.capacity(host, false)
    world.links.stopped(process)
    clock.at(endMs, () => {
      if (clockStands) host.clockOffset -= (endMs - startMs) * host.facts.clockRate
      if (!process.alive) return
      world.capacity(host, true)
      process.resume(prng.chance(TIMERS_FIRST))
    })
  })
}

function scheduleCrash(world: World, crash: Crash): void {
  const { clock, hosts } = world
  const host = hosts[crash.peer]!
  const { atMs, folderAgeMs, restartMs } = crash
  if (folderAgeMs > 0) clock.at(Math.max(0, atMs - folderAgeMs), () => host.backUp(clock.now))
  clock.at(atMs, () => {
    if (!kill(world, host, crash.power, restartMs === undefined)) return
    const backup = host.backups.pop()
    if (folderAgeMs > 0 && backup !== undefined) host.folder = copyFolder(backup.folder)
    if (restartMs !== undefined) clock.at(restartMs, () => comeBack(world, host))
  })
}

function scheduleLeave(world: World, { peer, atMs, returnMs }: Leave): void {
  const { clock, hosts } = world
  const host = hosts[peer]!
  clock.at(atMs, () => {
    const { process } = host
    if (process === undefined || process.stopped || !mayGo(world, host, returnMs === undefined))
      return
    process.leave()
    clock.after(LEAVE_MS, () => {
      if (!process.alive) return
      end(world, host, process, { power: false, forGood: returnMs === undefined })
      if (returnMs !== undefined) {
        clock.at(Math.max(returnMs, clock.now), () => comeBack(world, host))
      }
    })
  })
}

export function comeBack(world: World, host: Host): void {
  if (host.process !== undefined) return
  host.expected = true
  world.start(host)
}

/** kill -9, or without power; false: there was nothing to kill, or nobody else has the job. */
export function kill(world: World, host: Host, power: boolean, forGood: boolean): boolean {
  const { process } = host
  if (process === undefined || !mayGo(world, host, forGood)) return false
  end(world, host, process, { power, forGood })
  return true
}

function end(
  world: World,
  host: Host,
  process: Process,
  { power, forGood }: { power: boolean; forGood: boolean },
): void {
  if (!process.stopped) world.capacity(host, false)
  process.replica.lose(power)
  process.die()
  host.process = undefined
  host.powered = !power
  host.expected = !forGood
  world.links.died(process, power)
}

/** A job whose last holder goes for good is lost, and rightly: some honest peer that stays must have its JOB. */
function mayGo(world: World, host: Host, forGood: boolean): boolean {
  if (!forGood || !host.honest) return true
  return world.hosts.some(
    (other) =>
      other !== host &&
      other.honest &&
      other.expected &&
      (other.process?.jobs.size ?? 0) > 0 &&
      other.process?.leaving === false &&
      !world.doomed.has(other.index),
  )
}

/** What the facts of a machine mean for a peer on it, and what to do about those that are not well. Pure: no clock, no files. */
import type { MachineFacts } from './doctor-facts.ts'
import { fileFindings } from './doctor-files.ts'
import { type Finding, finding, type Looked } from './doctor-finding.ts'
import { formatBytes, formatDuration, plural, printable } from './format.ts'

const MIB = 1024 ** 2
const GIB = 1024 ** 3
const DAY_MS = 86_400_000
/** package.json, `engines`. */
const NODE_NEEDED = [20, 19] as const
/** A peer takes 100 to 150 MB, a worker some 45 MB before the task needs any (docs/operations.md). */
const PEER_BYTES = 150 * MIB
const WORKER_BYTES = 64 * MIB
/** "A few hundred" are used (docs/operations.md). */
const OPEN_FILES_NEEDED = 256
const OPEN_FILES_ROOMY = 1024
/** Threads count: about a dozen for each Node.js process. */
const THREADS_PER_PROCESS = 16
/** V8 reserves address space, not memory, by the gigabyte. */
const ADDRESS_SPACE_NEEDED = 8 * GIB
/** Result blobs and tables are a few MiB, spooled input can be more. */
const FILE_BYTES_NEEDED = GIB

/** In the order in which they are shown. */
export function machineFindings(looked: Looked): Finding[] {
  const { facts } = looked
  return [
    node(facts),
    ...native(facts),
    cores(facts),
    memory(facts),
    ...fileFindings(looked),
    limits(facts),
    clock(facts),
    ...user(facts),
  ]
}

// ---------------------------------------------------------------- the program

function node({ nodeVersion, platform, arch, glibc }: MachineFacts): Finding {
  const [major = 0, minor = 0] = nodeVersion.split('.').map(Number)
  const [needMajor, needMinor] = NODE_NEEDED
  const found = `Node.js ${nodeVersion}, ${platform} ${arch}${glibc === undefined ? '' : `, glibc ${glibc}`}`
  if (major > needMajor || (major === needMajor && minor >= needMinor)) {
    return finding('node', 'ok', found)
  }
  return finding(
    'node',
    'problem',
    found,
    `Meshwork needs Node.js ${needMajor}.${needMinor} or later.`,
    'install a current LTS of Node.js',
  )
}

function native({ nativeFailures }: MachineFacts): Finding[] {
  return nativeFailures.map(({ name, error }) =>
    finding(
      'parts',
      'problem',
      `${name} does not load: ${printable(error, 200)}`,
      'It is partly machine code, and was installed for another system or not at all.',
      'install again on this machine, without --omit=optional and --ignore-scripts: npm install meshwork',
    ),
  )
}

// ---------------------------------------------------------------- cores and memory

function cores({ cores, coreQuota }: MachineFacts): Finding {
  const usable = plural(cores, 'core')
  if (coreQuota === undefined || coreQuota >= cores) return finding('cores', 'ok', usable)
  const whole = Math.max(1, Math.floor(coreQuota))
  return finding(
    'cores',
    'warning',
    `${usable}, but this container may use the time of ${Number(coreQuota.toFixed(2))}`,
    'A peer that lends more cores than it has time for stops for parts of every second, and others may take it for lost.',
    `lend what there is: mesh join --cores ${whole}`,
  )
}

function memory(facts: MachineFacts): Finding {
  const { memoryBytes, freeMemoryBytes, memoryLimitBytes, cores } = facts
  const whole = memoryLimitBytes ?? memoryBytes
  const of = memoryLimitBytes === undefined ? '' : ' that this container may use'
  const found = `${formatBytes(Math.min(freeMemoryBytes, whole))} free of ${formatBytes(whole)}${of}`
  const fits = Math.floor((whole - PEER_BYTES) / WORKER_BYTES)
  if (fits < 1) {
    return finding(
      'memory',
      'problem',
      found,
      'That is too little for a peer and one worker process.',
      `a peer takes about ${formatBytes(PEER_BYTES)}, and each core that is lent ${formatBytes(WORKER_BYTES)} or more`,
    )
  }
  const lend = Math.max(1, Math.min(fits, cores))
  if (fits < cores) {
    return finding(
      'memory',
      'warning',
      found,
      `That is little for ${plural(cores, 'worker process', 'worker processes')}: the system may end some.`,
      `lend fewer cores: mesh join --cores ${lend}`,
    )
  }
  if (freeMemoryBytes < PEER_BYTES + WORKER_BYTES) {
    return finding(
      'memory',
      'warning',
      found,
      'Other programs use nearly all of it: workers would be slow, or ended by the system.',
      'end what is not needed, or lend fewer cores: mesh join --cores 1',
    )
  }
  return finding('memory', 'ok', found)
}

// ---------------------------------------------------------------- limits, clock, user

function limits({ limits, cores }: MachineFacts): Finding {
  const { openFiles, processes, addressSpaceBytes, dataBytes, fileBytes, cpuSeconds } = limits
  const threads = (cores + 2) * THREADS_PER_PROCESS
  const tight: { readonly problem?: boolean; readonly found: string; readonly advice: string }[] =
    []
  if (openFiles !== undefined && openFiles < OPEN_FILES_ROOMY) {
    tight.push({
      problem: openFiles < OPEN_FILES_NEEDED,
      found: `${openFiles} open files`,
      advice: `ulimit -n ${OPEN_FILES_ROOMY * 4} (LimitNOFILE= of a systemd unit)`,
    })
  }
  if (processes !== undefined && processes < threads) {
    tight.push({
      found: `${processes} processes and threads of this user`,
      advice: `ulimit -u ${threads * 2} (TasksMax= of a systemd unit), or lend fewer cores`,
    })
  }
  if (addressSpaceBytes !== undefined && addressSpaceBytes < ADDRESS_SPACE_NEEDED) {
    tight.push({
      found: `${formatBytes(addressSpaceBytes)} of address space`,
      advice: 'ulimit -v unlimited: Node.js reserves much more than it uses; --memory caps tasks',
    })
  }
  if (dataBytes !== undefined && dataBytes < GIB) {
    tight.push({ found: `${formatBytes(dataBytes)} of data`, advice: 'ulimit -d unlimited' })
  }
  if (fileBytes !== undefined && fileBytes < FILE_BYTES_NEEDED) {
    tight.push({ found: `files of ${formatBytes(fileBytes)}`, advice: 'ulimit -f unlimited' })
  }
  if (cpuSeconds !== undefined) {
    tight.push({
      found: `${formatDuration(cpuSeconds)} of CPU time, then the process is ended`,
      advice: 'ulimit -t unlimited',
    })
  }
  if (tight.length === 0) {
    return finding('limits', 'ok', openFiles === undefined ? 'none' : `${openFiles} open files`)
  }
  return finding(
    'limits',
    tight.some(({ problem }) => problem === true) ? 'problem' : 'warning',
    `at most ${tight.map(({ found }) => found).join('; ')}`,
    'A peer, its workers and their connections need more than that.',
    ...tight.map(({ advice }) => advice),
  )
}

function clock({ wallClockMs, installedMs }: MachineFacts): Finding {
  const now = new Date(wallClockMs).toISOString()
  const found = `${now.slice(0, 10)} ${now.slice(11, 16)} UTC`
  if (installedMs === undefined || wallClockMs > installedMs - DAY_MS) {
    return finding('clock', 'ok', found)
  }
  const written = new Date(installedMs).toISOString().slice(0, 10)
  return finding(
    'clock',
    'warning',
    `${found}, before this program was installed (${written})`,
    'Jobs are shared by order, not by time, so nothing is lost; but the times that are shown are wrong.',
    'set the clock, and let the system keep it (NTP)',
  )
}

function user({ root }: MachineFacts): Finding[] {
  if (!root) return []
  return [
    finding(
      'user',
      'warning',
      'root',
      'Members of the mesh can run code on this machine as the user that runs the peer: here, as root.',
      'run the peer as a user of its own (docs/meshwork.service shows how)',
    ),
  ]
}

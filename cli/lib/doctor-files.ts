/** What the data folder, its disk and the temporary folder mean for a peer. Pure, as doctor-machine.ts. */
import type { MachineFacts } from './doctor-facts.ts'
import { type Finding, finding, type Looked } from './doctor-finding.ts'
import { formatBytes, formatDuration, plural, printable } from './format.ts'

/** What src/node/disk-guard.ts leaves free: below, a peer takes no work. So many times that is little for a mesh that computes. */
const RESERVE_BYTES = 512 * 1024 ** 2
const RESERVE_SHARE = 0.02
const ROOMY = 4
/** Blobs and log are files: one each. */
const FEW_FILES = 10_000
/** The log is synced every 20 ms at most: a disk that takes much longer slows every result. */
const SLOW_SYNC_MS = 250
const NETWORK_FILE_SYSTEMS = new Set(['nfs', 'cifs', 'smb', 'afs', '9p', 'ceph', 'fuse'])
const MEMORY_FILE_SYSTEMS = new Set(['tmpfs', 'ramfs'])
const WITHOUT_PERMISSIONS = new Set(['vfat', 'exfat'])

/** In the order in which they are shown. */
export function fileFindings(looked: Looked): Finding[] {
  return [folder(looked.facts), ...disk(looked), ...tempFolder(looked.facts)]
}

function folder({ folder }: MachineFacts): Finding {
  const { path, exists, lookedAt, writeError, mode, fileSystem, syncMs } = folder
  const found = fileSystem === undefined ? path : `${path} (${fileSystem})`
  if (writeError !== undefined) {
    return finding(
      'folder',
      'problem',
      `${found}: ${printable(writeError, 200)}`,
      'The peer keeps its identity, the log and all results there, and must write.',
      `make ${lookedAt} a folder that this user may write, or use another with --data DIR`,
    )
  }
  const kind = fileSystemFinding(found, fileSystem)
  if (kind !== undefined) return kind
  if (mode !== undefined && (mode & 0o077) !== 0) {
    return finding(
      'folder',
      'warning',
      `${found} is open to other users (mode ${mode.toString(8)})`,
      "The mesh's key is in it: who reads it is a member, and can run code on every peer.",
      `chmod 700 ${path}`,
    )
  }
  if (syncMs !== undefined && syncMs > SLOW_SYNC_MS) {
    return finding(
      'folder',
      'warning',
      `${found}: a small write took ${formatDuration(syncMs / 1000)} to reach the disk`,
      'Each result waits for such a write.',
      'put the folder on a faster disk with --data DIR, or see what else keeps this one busy',
    )
  }
  if (!exists) return finding('folder', 'ok', `${found}, not there yet: mesh join makes it`)
  const synced =
    syncMs === undefined ? '' : `, a write is on the disk in ${formatDuration(syncMs / 1000)}`
  return finding('folder', 'ok', `${found}${synced}`)
}

function fileSystemFinding(found: string, fileSystem: string | undefined): Finding | undefined {
  if (fileSystem === undefined) return undefined
  if (NETWORK_FILE_SYSTEMS.has(fileSystem)) {
    return finding(
      'folder',
      'warning',
      `${found} seems to be on another machine`,
      'Locks and forced writes over a network are not dependable: two peers could open one folder, or a crash lose what was acknowledged.',
      "use a folder on this machine's own disk with --data DIR",
    )
  }
  if (MEMORY_FILE_SYSTEMS.has(fileSystem)) {
    return finding(
      'folder',
      'warning',
      `${found} is in memory`,
      'Results that this peer keeps are gone when the machine starts again, and they use up memory.',
      'use a folder on a disk with --data DIR',
    )
  }
  if (WITHOUT_PERMISSIONS.has(fileSystem)) {
    return finding(
      'folder',
      'warning',
      `${found} knows no permissions`,
      "Every user of this machine can read the mesh's key there.",
      'use a folder on a file system with permissions with --data DIR',
    )
  }
  return undefined
}

function disk({ facts, peer }: Looked): Finding[] {
  const { freeBytes, totalBytes, freeFiles } = facts.folder
  // A file system that is none (as /proc) has no size.
  if (freeBytes === undefined || totalBytes === undefined || totalBytes === 0) return []
  const reserve = peer?.disk?.reserveBytes ?? Math.min(RESERVE_BYTES, totalBytes * RESERVE_SHARE)
  const found = `${formatBytes(freeBytes)} free of ${formatBytes(totalBytes)}`
  if (peer?.disk?.short === true || freeBytes < reserve) {
    return [
      finding(
        'disk',
        'problem',
        found,
        `Below ${formatBytes(reserve)} a peer takes no work and keeps nothing.`,
        'free some space, drop jobs that are over (mesh forget JOB), or give mesh join --min-free a smaller size',
      ),
    ]
  }
  if (freeFiles !== undefined && freeFiles < FEW_FILES) {
    return [
      finding(
        'disk',
        'warning',
        `${found}, but only ${plural(freeFiles, 'file')} more`,
        'The file system has few inodes left, and each larger result is a file.',
        'remove small files that are not needed, or use another disk with --data DIR',
      ),
    ]
  }
  if (freeBytes < reserve * ROOMY) {
    return [
      finding(
        'disk',
        'warning',
        found,
        `Below ${formatBytes(reserve)} a peer takes no work and keeps nothing.`,
        'free some space, or let less be kept: mesh join --keep-size SIZE',
      ),
    ]
  }
  return [finding('disk', 'ok', found)]
}

function tempFolder({ tempFolder: { path, error } }: MachineFacts): Finding[] {
  if (error === undefined) return []
  return [
    finding(
      'temp',
      'problem',
      `${path}: ${printable(error, 200)}`,
      'Tasks are checked, and some control sockets live, in the temporary folder.',
      'make it writable, or set TMPDIR to a folder that is',
    ),
  ]
}

import { existsSync, constants as fs } from 'node:fs'
import { copyFile, link, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Level } from 'level'
import { isMeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { readJsonFile, writeFileAtomic } from './atomic-file.ts'
import { damaged, diskFull, errorCode, isCorruption, isDiskFull, isMissing } from './fs-errors.ts'
import type { Change, KeyValue } from './key-value.ts'
import { type LevelOptions, openLevel } from './level-key-value.ts'
import { readLevelLog, salvageLog } from './level-log.ts'
import { isWholeTable, readBatch, salvageTable } from './level-table.ts'
import { MAX_DAMAGED_COPIES, SWEEP_BATCH_CHANGES } from './limits.ts'
import type { VerifyEnd } from './signatures.ts'
import { type SweepResult, sweepStore } from './store-sweep.ts'
import type { StoreRepair } from './types.ts'

/** A repair that is due, or under way: `<dir>/db.repair.json`, there from before the first change until after the last. */
export interface DueRepair {
  /** What is wrong, for people. */
  readonly reason: string
  /** Only the files that say which tables count are damaged: all tables may be there. */
  readonly indexOnly?: boolean
  /** Folder of the copy, once it has been named. */
  readonly copy?: string
}

export interface RepairOptions extends LevelOptions {
  readonly dir: string
  readonly verify: VerifyEnd
  readonly logger?: Logger | undefined
}

const COPY = /^db\.damaged-(\d+)$/

/** Level is ClassicLevel on Node.js; the types that it shares with browsers leave this out. */
const LevelTools = Level as unknown as { repair(location: string): Promise<void> }

export async function readDueRepair(dir: string): Promise<DueRepair | undefined> {
  try {
    return await readJsonFile(duePath(dir), '', ({ reason, indexOnly, copy }) => {
      if (typeof reason !== 'string') return undefined
      const named = typeof copy === 'string' && COPY.test(copy) ? { copy } : {}
      return { reason, indexOnly: indexOnly === true, ...named }
    })
  } catch (error) {
    // Its process ended while it wrote this: something was wrong.
    if (isMeshError(error, 'ERR_MESH_STORE_DAMAGED')) return { reason: 'damage was noted' }
    throw error
  }
}

export function dueRepairText(due: DueRepair): string {
  return `${JSON.stringify(due)}\n`
}

async function noteDueRepair(dir: string, due: DueRepair): Promise<void> {
  await writeFileAtomic(duePath(dir), dueRepairText(due))
}

/**
 * Repairs `<dir>/db`: what is there becomes `db.damaged-<n>`, LevelDB's own repair makes a new database of its files, and what is in
 * that proves itself or goes (store-sweep.ts). It can end at any instant and is begun again from the copy at the next start.
 * ERR_MESH_STORE_DAMAGED when not even that works, ERR_MESH_DISK_FULL.
 */
export async function repairLevel(due: DueRepair, options: RepairOptions): Promise<StoreRepair> {
  const { dir, logger } = options
  const name = due.copy ?? (await nextCopy(dir))
  const folder = join(dir, 'db')
  const copy = join(dir, name)
  const work = join(dir, 'db.repairing')
  const { reason, indexOnly = false } = due
  logger?.warn('the store is damaged; it is repaired', { reason, copy })
  await noteDueRepair(dir, { reason, indexOnly, copy: name })
  // Nobody has written to `db` since: it is either what is damaged, or what a repair that did not end made of the copy.
  if (!existsSync(copy)) await rename(folder, copy)
  try {
    const { whole, changed } = await takeFiles(copy, work)
    // LevelDB refuses to repair nothing; a new database is as good.
    if (whole > 0) await LevelTools.repair(work)
    await mergeTables(work)
    const kv = await openLevel(work, options)
    let swept: SweepResult
    try {
      for (const file of changed) await salvage(kv, join(copy, file))
      const lost = !indexOnly || changed.length > 0
      swept = await sweepStore(kv, { dir, verify: options.verify, lost })
    } finally {
      await kv.close()
    }
    await rm(join(work, 'lost'), { recursive: true, force: true })
    await rm(folder, { recursive: true, force: true })
    await rename(work, folder)
    await rm(duePath(dir), { force: true })
    await dropOldCopies(dir)
    logger?.warn('the store is repaired', { reason, copy, ...swept, jobs: swept.jobs.length })
    return { reason, copy, ...swept }
  } catch (error) {
    if (isDiskFull(error)) throw diskFull(dir, error)
    if (!isCorruption(error)) throw error
    throw damaged(folder, `${reason}, and it cannot be repaired`, error, START_ANEW)
  }
}

const START_ANEW =
  'Move the data folder away, keep it if the results in it matter, and start again: ' +
  'jobs that other peers hold come back from them.'

/**
 * LevelDB's repair leaves all tables side by side and looks a key up in the newest file first, which may be one that was left over
 * from a merge, with old values. Merged, only the newest value of each key is left.
 */
async function mergeTables(folder: string): Promise<void> {
  const db = new Level<Buffer, Buffer>(folder, { keyEncoding: 'buffer', valueEncoding: 'buffer' })
  const { compactRange } = db as unknown as {
    compactRange(start: Buffer, end: Buffer): Promise<void>
  }
  await db.open()
  try {
    await compactRange.call(db, Buffer.alloc(0), Buffer.alloc(128, 0xff))
  } finally {
    await db.close()
  }
}

/**
 * The files of the copy that hold data and are whole, in a new folder: LevelDB replaces files and never changes one, so links will do.
 * `changed` are the others, tables first, logs in the order of their writing. LevelDB's repair would take what is in them as it
 * is.
 */
async function takeFiles(
  copy: string,
  work: string,
): Promise<{ whole: number; changed: readonly string[] }> {
  await rm(work, { recursive: true, force: true })
  await mkdir(work, { mode: 0o700 })
  const files = (await readdir(copy)).filter((file) => /\.(ldb|sst|log)$/.test(file)).sort()
  const changed: string[] = []
  for (const file of files) {
    if (await isWholeFile(join(copy, file))) await linkOrCopy(join(copy, file), join(work, file))
    else changed.push(file)
  }
  changed.sort((a, b) => Number(isLog(a)) - Number(isLog(b)) || (a < b ? -1 : 1))
  return { whole: files.length - changed.length, changed }
}

const isLog = (file: string): boolean => file.endsWith('.log')

async function isWholeFile(path: string): Promise<boolean> {
  const bytes = await readIfPossible(path)
  if (bytes === undefined) return false
  return isLog(path) ? readLevelLog(bytes, false).damage !== 'middle' : isWholeTable(bytes)
}

/**
 * What can be read of a damaged file. Of a table, keys that are nowhere else: there is no telling how old it is, and what matters are
 * entries, which do not change. Of a log, which is newer than all tables, everything.
 */
async function salvage(kv: KeyValue, path: string): Promise<void> {
  const bytes = (await readIfPossible(path)) ?? Buffer.alloc(0)
  if (isLog(path)) {
    for (const record of salvageLog(bytes)) await kv.write(readBatch(record) ?? [], false)
    return
  }
  let changes: Change[] = []
  for (const [key, value] of salvageTable(bytes)) {
    if (kv.getSync(key) === undefined) changes.push({ key, value })
    if (changes.length < SWEEP_BATCH_CHANGES) continue
    await kv.write(changes, false)
    changes = []
  }
  await kv.write(changes, false)
}

/** undefined for a file with a sector that cannot be read. */
async function readIfPossible(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (errorCode(error) === 'EIO') return undefined
    throw error
  }
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (errorCode(error) === 'ENOSPC') throw error
    await copyFile(from, to, fs.COPYFILE_FICLONE)
  }
}

async function copiesOf(dir: string): Promise<number[]> {
  const numbers = (await listOf(dir)).map((name) => Number(COPY.exec(name)?.[1] ?? 0))
  return numbers.filter((number) => number > 0).sort((a, b) => a - b)
}

async function nextCopy(dir: string): Promise<string> {
  return `db.damaged-${((await copiesOf(dir)).at(-1) ?? 0) + 1}`
}

async function dropOldCopies(dir: string): Promise<void> {
  for (const number of (await copiesOf(dir)).slice(0, -MAX_DAMAGED_COPIES)) {
    await rm(join(dir, `db.damaged-${number}`), { recursive: true, force: true })
  }
}

async function listOf(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}

export function duePath(dir: string): string {
  return join(dir, 'db.repair.json')
}

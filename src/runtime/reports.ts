/**
 * What a worker reports, checked field by field: a task's own code can write on the pipe of its worker, and what it says there goes
 * on into the log, to other peers and to the user. All readers throw ERR_MESH_PROTOCOL, and nothing else.
 */
import { MeshError } from '../base/errors.ts'
import {
  MAX_ISSUES_PER_ITEM,
  MAX_LOG_LINE_CHARS,
  MAX_MESSAGE_CHARS,
  MAX_STACK_CHARS,
} from './limits.ts'
import { decodeValue } from './segment.ts'
import type {
  CheckedFrame,
  DyingFrame,
  EndedFrame,
  ErrorFrame,
  LogFrame,
  ReadyFrame,
} from './worker/frames.ts'

const ENDS = ['range', 'time', 'output', 'aborted', 'inputLost', 'retry'] as const
const STREAMS = ['stdout', 'stderr', 'log'] as const
const KINDS = ['task', 'function'] as const
/** Characters of an error's code and name. */
const MAX_CODE_CHARS = 64
const MAX_NAME_CHARS = 256

export function readEnded(payload: Uint8Array): EndedFrame {
  const it = fields(decodeValue(payload), 'the end of a run')
  const elapsedMs = it.elapsedMs
  if (typeof elapsedMs !== 'number') throw wrong('elapsedMs')
  const frame = {
    run: whole(it.run, 'run'),
    reached: whole(it.reached, 'reached'),
    failed: whole(it.failed, 'failed'),
    elapsedMs,
    ended: one(ENDS, it.ended, 'ended'),
    rssBytes: whole(it.rssBytes, 'rssBytes'),
    ...(it.retry === undefined ? {} : { retry: readRetry(it.retry) }),
  }
  if (it.message === undefined) return frame
  return { ...frame, message: text(it.message, 'message', MAX_MESSAGE_CHARS) }
}

function readRetry(value: unknown): NonNullable<EndedFrame['retry']> {
  const { delayMs, attempt } = fields(value, 'retry')
  if (typeof delayMs !== 'number' || !(delayMs >= 0)) throw wrong('delayMs')
  return { delayMs, attempt: whole(attempt, 'attempt') }
}

export function readLog(payload: Uint8Array): LogFrame {
  const it = fields(decodeValue(payload), 'a line')
  const line = {
    stream: one(STREAMS, it.stream, 'stream'),
    // The ellipsis of a cut line is within what a reader of the line expects.
    text: text(it.text, 'text', MAX_LOG_LINE_CHARS + 64),
  }
  return it.item === undefined ? line : { ...line, item: whole(it.item, 'item') }
}

export function readItemProgress(payload: Uint8Array): { item: number; fraction: number } {
  const { item, fraction } = fields(decodeValue(payload), 'progress')
  if (typeof fraction !== 'number' || !Number.isFinite(fraction)) throw wrong('fraction')
  return { item: whole(item, 'item'), fraction }
}

export function readReady(payload: Uint8Array): ReadyFrame {
  const { name, kind, hasSchema } = fields(decodeValue(payload), 'ready')
  if (typeof hasSchema !== 'boolean') throw wrong('hasSchema')
  return {
    name: name === undefined ? undefined : text(name, 'name', MAX_NAME_CHARS),
    kind: one(KINDS, kind, 'kind'),
    hasSchema,
  }
}

export function readLoadFailed(payload: Uint8Array): ErrorFrame {
  return errorFrame(decodeValue(payload))
}

export function readDying(payload: Uint8Array): DyingFrame {
  const { item, exitCode, error } = fields(decodeValue(payload), 'last words')
  const frame = {
    item: item === undefined ? undefined : whole(item, 'item'),
    // What process.exit() was given, which may be anything.
    exitCode: typeof exitCode === 'number' && Number.isSafeInteger(exitCode) ? exitCode : 1,
  }
  return error === undefined ? frame : { ...frame, error: errorFrame(error) }
}

export function readChecked(payload: Uint8Array): CheckedFrame {
  const { refused, error } = fields(decodeValue(payload), 'checked items')
  if (!Array.isArray(refused)) throw wrong('refused')
  const list = refused.map((each: unknown) => {
    const { index, issues } = fields(each, 'a refused item')
    if (!Array.isArray(issues)) throw wrong('issues')
    const told = issues.slice(0, MAX_ISSUES_PER_ITEM)
    return {
      index: whole(index, 'index'),
      // A schema may say anything; that it refused the item is what counts.
      issues: told.map((issue: unknown) =>
        typeof issue === 'string' ? issue.slice(0, MAX_MESSAGE_CHARS) : 'is refused',
      ),
    }
  })
  return error === undefined ? { refused: list } : { refused: list, error: errorFrame(error) }
}

function errorFrame(value: unknown): ErrorFrame {
  const { code, name, message, stack } = fields(value, 'an error')
  const frame = {
    code: text(code, 'code', MAX_CODE_CHARS),
    name: text(name, 'name', MAX_NAME_CHARS),
    message: text(message, 'message', MAX_MESSAGE_CHARS),
  }
  return stack === undefined ? frame : { ...frame, stack: text(stack, 'stack', MAX_STACK_CHARS) }
}

function fields(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw wrong(what)
  return value as Record<string, unknown>
}

function whole(value: unknown, what: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw wrong(what)
}

/** Cut to `maxChars`: it is for people. */
function text(value: unknown, what: string, maxChars: number): string {
  if (typeof value !== 'string') throw wrong(what)
  return value.slice(0, maxChars)
}

function one<T extends string>(list: readonly T[], value: unknown, what: string): T {
  const found = list.find((each) => each === value)
  if (found === undefined) throw wrong(what)
  return found
}

function wrong(what: string): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', `a worker's report is wrong: ${what}`)
}

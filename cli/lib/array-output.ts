import { shortestF32 } from '../../src/base/f32-text.ts'
import type { Size } from '../../src/gpu/types.ts'
import type { JobInfo } from '../../src/node/types.ts'
import { dataFlag, shellWord } from './come-back.ts'
import { EXIT } from './exit-codes.ts'
import type { FailureTeller } from './failures.ts'
import { formatBytes, formatCount, formatPercent, plural, printable } from './format.ts'
import { type ArrayFacts, GatheredArray } from './gathered-array.ts'
import { itemWord, sizeText } from './job-view.ts'
import type { ArrayFileWritten } from './library.ts'
import { ARRAY_VALUES_SHOWN, NAME_CHARS, SHARES_SHOWN } from './limits.ts'
import { note, printJson } from './output.ts'
import type { End, Output, Run } from './run.ts'
import { styleFor } from './style.ts'
import { renderFields } from './table.ts'
import { endDocument, tellEnd } from './telling.ts'

interface ArrayOutputOptions {
  readonly size: readonly number[]
  readonly items: number
  readonly teller: FailureTeller
}

/**
 * The results of a kernel: one array, to the file of --out when the reading ends, else told in words, or inside the document of --json.
 * Items that failed or are not there are NaN. Nothing is written of a reading that was broken off: an older file stays as it is.
 */
export function openArrayOutput({ size, items, teller }: ArrayOutputOptions): Output {
  const array = new GatheredArray(size, items, (failure) => teller.tell(failure))
  return {
    open: async () => {},
    write: (batch) => array.write(batch),
    flush: async () => {},
    get present() {
      return array.values + array.failed
    },
    fail: async (error) => {
      throw error
    },
    finish: (run, end) => finish(run, end, array),
    close: async () => {},
  }
}

async function finish(run: Run, end: End, array: GatheredArray): Promise<number> {
  const { context, options } = run
  const complete = end.error === undefined && end.code < EXIT.internal && array.values > 0
  const written =
    complete && options.out !== undefined ? await write(run, end, options.out, array) : undefined
  if (options.json) {
    printJson(context, document(run, end, array, complete, written))
    return end.code
  }
  await tellEnd(run, end, 'the others are NaN')
  if (written !== undefined) note(context, writtenLine(written, array), options.quiet)
  else if (options.out !== undefined) {
    // After Ctrl-C the way back has been told.
    note(context, `${options.out} is not written`, end.code >= EXIT.internal)
  } else if (complete) {
    context.stdout.write(await arrayText(run, end.info, array))
    note(context, `the numbers themselves: ${await outCommand(run, end.info)}`, options.quiet)
  }
  return end.code
}

/** The job is not lost with a disk that is full: how to get the file elsewhere is said before the error is. */
async function write(
  run: Run,
  end: End,
  out: string,
  { data, size }: GatheredArray,
): Promise<ArrayFileWritten> {
  const { context, options, library } = run
  try {
    return await library.writeArray(out, { data, size: size as Size }, options.picture)
  } catch (error) {
    const silent = options.json || end.info.state !== 'finished'
    note(
      context,
      `the job is done; write its array again with: ${await outCommand(run, end.info)}`,
      silent,
    )
    throw error
  }
}

/** 'mesh results ab12ab12 --out FILE.png (or .npy, .csv, .f32)' */
async function outCommand({ context, session }: Run, info: JobInfo): Promise<string> {
  const [first, ...others] =
    (info.output?.length ?? 1) === 1 ? ['npy', 'csv', 'f32'] : ['png', 'npy', 'csv', 'f32']
  const data = await dataFlag(context, session.dataDir)
  return `mesh results ${info.short}${data} --out FILE.${first} (or ${others.map((one) => `.${one}`).join(', ')})`
}

/** 'picture.png: 2 048 x 2 048, 1.2 MiB; 0 is darkest, 3.17 brightest (viridis)' */
function writtenLine(
  { path, sizeBytes, scale }: ArrayFileWritten,
  { size }: GatheredArray,
): string {
  const parts = [`${shellWord(path)}: ${sizeText(size)}, ${formatBytes(sizeBytes)}`]
  if (scale?.range !== undefined) {
    const [low, high] = scale.range
    parts.push(`${short(low)} is darkest, ${short(high)} brightest (${scale.colors})`)
  }
  if (scale !== undefined && scale.clipped > 0) {
    parts.push(`${formatCount(scale.clipped)} outside of that shown as the nearer end`)
  }
  if (scale !== undefined && scale.missing > 0)
    parts.push(`${formatCount(scale.missing)} NaN left clear`)
  return parts.join('; ')
}

/** What stands on stdout in the place of millions of numbers. */
async function arrayText(run: Run, info: JobInfo, array: GatheredArray): Promise<string> {
  const { context } = run
  const style = await styleFor(context, context.stdout)
  const facts = array.facts()
  const fields: [string, string][] = [
    ...numberFields(facts),
    ...missingFields(info, array),
    ...sharesField(info),
    ...devicesField(array),
    ...valuesField(array),
  ]
  const name = style.bold(printable(info.name, NAME_CHARS))
  return `${name}: ${sizeText(array.size)} numbers\n${renderFields(fields, style.dim)}`
}

function numberFields({ least, greatest, mean, nan, infinite }: ArrayFacts): [string, string][] {
  const number = (
    label: string,
    value: number | undefined,
    text: (value: number) => string,
  ): [string, string][] => (value === undefined ? [] : [[label, text(value)]])
  const count = (label: string, value: number): [string, string][] =>
    value === 0 ? [] : [[label, formatCount(value)]]
  return [
    ...number('least', least, shortestF32),
    ...number('greatest', greatest, shortestF32),
    ...number('mean', mean, short),
    ...count('NaN', nan),
    ...count('infinite', infinite),
  ]
}

function missingFields(info: JobInfo, { values, failed }: GatheredArray): [string, string][] {
  const word = itemWord(info)
  const missing = info.items - values - failed
  return [
    ...(failed === 0 ? [] : [['failed', plural(failed, word)] as [string, string]]),
    ...(missing === 0 ? [] : [['missing', plural(missing, word)] as [string, string]]),
  ]
}

function sharesField({ peers }: JobInfo): [string, string][] {
  const total = peers.reduce((sum, peer) => sum + peer.done, 0)
  if (total === 0) return []
  const shares = [...peers]
    .sort((a, b) => b.done - a.done || (a.id < b.id ? -1 : 1))
    .map(
      ({ name, id, done }) =>
        `${printable(name || id.slice(0, 8), NAME_CHARS)} ${formatPercent(done, total)}`,
    )
  const more = shares.length - SHARES_SHOWN
  const text = shares.slice(0, SHARES_SHOWN).join(', ') + (more > 0 ? ` and ${more} more` : '')
  return [['computed', `by ${text}`]]
}

/** Results are the same bit for bit within one class of devices, and close to it between two. */
function devicesField({ devices }: GatheredArray): [string, string][] {
  const names = [...devices].sort().map((name) => printable(name, NAME_CHARS))
  return names.length === 0 ? [] : [['on', names.join(', ')]]
}

function valuesField({ data }: GatheredArray): [string, string][] {
  if (data.length > ARRAY_VALUES_SHOWN) return []
  return [['values', Array.from(data, shortestF32).join(' ')]]
}

function document(
  run: Run,
  end: End,
  array: GatheredArray,
  complete: boolean,
  written: ArrayFileWritten | undefined,
): Record<string, unknown> {
  const { options } = run
  const { data, size } = array
  const values =
    complete && options.out === undefined ? { array: { size, data: Array.from(data) } } : {}
  return {
    job: end.info.id,
    ...(written === undefined
      ? {}
      : { out: written.path, format: written.format, sizeBytes: written.sizeBytes }),
    ...values,
    output: size,
    numbers: array.facts(),
    devices: [...array.devices].sort(),
    ...endDocument(run, end),
  }
}

/** For what is computed of them, and is no f32 itself. */
function short(value: number): string {
  return String(Number(value.toPrecision(6)))
}

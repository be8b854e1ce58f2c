import { type Command, InvalidArgumentError, Option } from 'commander'
import { MeshError } from '../../src/base/errors.ts'
import type { PeerOptions } from './context.ts'
import { MAX_CORES } from './limits.ts'

/** Options that every sub-command has. */
export interface CommonOptions {
  readonly data?: string
  readonly json?: boolean
  readonly verbose?: boolean
}

/** Adds --data, --json and --verbose. */
export function withCommonOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--data <dir>', "the peer's folder ($MESH_DATA, else ~/.local/share/meshwork)"),
    )
    .option('--json', 'print exactly one JSON document on stdout, errors too')
    .option('-v, --verbose', "show error codes, stacks and the peer's log on stderr")
}

/** Adds the options of a command that may start a peer of its own. */
export function withPeerOptions(command: Command): Command {
  return withGpuOptions(
    command
      .option('--name <name>', 'what this peer calls itself (default: the host name)', parseName)
      .option('--no-mdns', 'do not look for peers on the local network'),
  )
}

/** Adds --gpu and --gpu-device. */
export function withGpuOptions(command: Command): Command {
  return command
    .option(
      '--gpu <mode>',
      'auto: kernels run on the GPU if there is one; off: on the CPU; require: no peer without one (default: auto)',
      parseGpuMode,
    )
    .option(
      '--gpu-device <name>',
      'the GPU to use, by its name or a part of it; a software one is used only when named',
    )
}

export interface GpuFlags {
  readonly gpu?: GpuMode
  readonly gpuDevice?: string
}

const GPU_MODES = ['auto', 'off', 'require'] as const
type GpuMode = (typeof GPU_MODES)[number]

function parseGpuMode(text: string): GpuMode {
  const mode = GPU_MODES.find((known) => known === text.trim())
  if (mode === undefined) throw refuse(`must be auto, off or require (got '${text}')`)
  return mode
}

/** The GPU as a peer is told of it; nothing for its own default. @throws ERR_MESH_OPTION_INVALID */
export function gpuOptions({ gpu, gpuDevice }: GpuFlags): Pick<PeerOptions, 'gpu'> {
  if (gpuDevice === undefined) return gpu === undefined ? {} : { gpu: { mode: gpu } }
  const fault = (why: string): MeshError =>
    new MeshError('ERR_MESH_OPTION_INVALID', `--gpu-device ${why}`, {
      details: { option: '--gpu-device' },
    })
  const device = gpuDevice.trim()
  if (device === '')
    throw fault('needs the name of a GPU: `mesh doctor` lists those that there are')
  if (gpu === 'off')
    throw fault('names a GPU, but with --gpu off none is used: leave one of them out')
  return { gpu: { mode: gpu ?? 'auto', device } }
}

/** `--cores N` where N is at least `min`. */
export function coresOption(min: 0 | 1, description: string): Option {
  return new Option('--cores <n>', description).argParser((text) => {
    if (min === 1 && text.trim() === '0') {
      throw refuse(
        'must be at least 1: a peer that joins lends cores (`mesh submit --cores 0` lends none)',
      )
    }
    return parseWhole(text, min, MAX_CORES)
  })
}

/** For commander: a whole number of at least `min`. */
export function wholeNumber(
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): (text: string) => number {
  return (text) => parseWhole(text, min, max)
}

/** For commander: a number above 0, fractions allowed. */
export function positiveNumber(unit: string): (text: string) => number {
  return (text) => {
    const value = /^\s*(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(text)
      ? toNumber(text)
      : Number.NaN
    if (!(value > 0) || !Number.isFinite(value)) {
      throw refuse(`must be a number of ${unit} above 0 (got '${text}')`)
    }
    return value
  }
}

/** For commander: gathers an option that may be given several times. */
export function repeated(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text]
}

function parseWhole(text: string, min: number, max: number): number {
  const value = toWhole(text)
  if (value === undefined) throw refuse(`must be a whole number (got '${text}')`)
  if (value < min) throw refuse(`must be at least ${min} (got ${text})`)
  if (value > max) throw refuse(`must be at most ${max} (got ${text})`)
  return value
}

function parseName(text: string): string {
  const name = text.trim()
  if (name === '' || name.length > 64) throw refuse('must have 1 to 64 characters')
  return name
}

/** What commander prints after "error: option '--x <n>' argument 'y' is invalid."; see usageMessage in program.ts. */
function refuse(why: string): InvalidArgumentError {
  return new InvalidArgumentError(why)
}

/** '5', '1_000_000', '1e6', '-3' -> a safe integer, else undefined. */
function toWhole(text: string): number | undefined {
  if (!/^\s*[+-]?\d+(_\d+)*(e\+?\d+)?\s*$/i.test(text)) return undefined
  const value = toNumber(text)
  return Number.isSafeInteger(value) ? value : undefined
}

function toNumber(text: string): number {
  return Number(text.replaceAll('_', ''))
}

const RANGE_HELP =
  'write --range A..B, two whole numbers: from A up to, not including, B; as in 0..1000'

/**
 * '0..1000' -> [0, 1000], half-open.
 * @throws ERR_MESH_RANGE_INVALID
 */
export function parseRange(text: string): [start: number, end: number] {
  const fail = (why: string): MeshError =>
    new MeshError('ERR_MESH_RANGE_INVALID', `--range '${text}' ${why}`, {
      details: { range: text },
    })
  const parts = text.split(/\.{2,}/)
  if (/\.{3,}/.test(text)) throw fail(`has three dots or more; ${RANGE_HELP}`)
  if (parts.length !== 2) throw fail(`is not a range; ${RANGE_HELP}`)
  const [start, end] = parts.map((part) => bound(part, fail)) as [number, number]
  if (start > end) {
    throw fail(`is reversed: did you mean ${end}..${start}? (from A up to, not including, B)`)
  }
  if (!Number.isSafeInteger(end - start))
    throw fail('has more items than a number can count exactly')
  return [start, end]
}

function bound(part: string, fail: (why: string) => MeshError): number {
  const value = toWhole(part)
  if (value !== undefined) return value
  if (part.trim() === '') throw fail(`has no number on one side; ${RANGE_HELP}`)
  if (Number.isFinite(Number(part)))
    throw fail(`has '${part}', which is not a whole number that can be counted exactly`)
  throw fail(`has '${part}', which is not a number; ${RANGE_HELP}`)
}

/**
 * The value of --args.
 * @throws ERR_MESH_OPTION_INVALID
 */
export function parseArgs(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new MeshError(
      'ERR_MESH_OPTION_INVALID',
      `--args is not JSON: ${(cause as Error).message}; as in --args '{"depth": 3}'`,
      { cause, details: { option: '--args' } },
    )
  }
}

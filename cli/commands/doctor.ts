import type { Command } from 'commander'
import { VERSION } from '../../src/base/version.ts'
import type { GpuFound } from '../../src/gpu/types.ts'
import type { App, Context } from '../lib/context.ts'
import { lookAtMachine, lookForGpu, type MachineFacts } from '../lib/doctor-facts.ts'
import type { Finding, Looked } from '../lib/doctor-finding.ts'
import { machineFindings } from '../lib/doctor-machine.ts'
import { meshFindings } from '../lib/doctor-mesh.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { formatDuration, plural } from '../lib/format.ts'
import { PEER_ANSWER_MS } from '../lib/limits.ts'
import { type CommonOptions, gpuOptions, withCommonOptions } from '../lib/options.ts'
import { printJson } from '../lib/output.ts'
import { dataDirOf } from '../lib/session.ts'
import { type Style, styleFor } from '../lib/style.ts'

/** What it looks with; tests hand in others. */
export interface Looking {
  machine(dataDir: string): Promise<MachineFacts>
  /** `device`: an adapter's name, or a part of it. */
  gpu(device?: string): Promise<GpuFound>
}

interface DoctorFlags extends CommonOptions {
  readonly gpuDevice?: string
}

const REAL: Looking = { machine: lookAtMachine, gpu: lookForGpu }

export function register(program: Command, app: App): void {
  const command = program
    .command('doctor')
    .description('look at this machine: what would keep a peer from working well, and what to do')
    .option(
      '--gpu-device <name>',
      'look at this GPU, by its name or a part of it, not at the one that would be used',
    )
  withCommonOptions(command).action(async (flags: DoctorFlags) =>
    app.finish(await doctor(app.context, flags)),
  )
}

/** Needs no peer, and tells of one that runs. The exit code is 1 when there is a problem. */
export async function doctor(
  context: Context,
  options: DoctorFlags,
  looking: Looking = REAL,
): Promise<number> {
  const dataDir = await dataDirOf(context, options)
  const { gpu: chosen } = gpuOptions(options)
  // One after the other: the probe keeps the machine busy, and a busy disk looks slow.
  const facts = await looking.machine(dataDir)
  const looked: Looked = {
    facts,
    ...(facts.folder.exists ? await lookAtPeer(context, dataDir) : NO_PEER),
    ...(await lookAtGpu(looking, chosen?.device)),
    version: VERSION,
  }
  const findings = [...machineFindings(looked), ...meshFindings(looked)]
  const problems = findings.filter(({ level }) => level === 'problem').length
  const warnings = findings.filter(({ level }) => level === 'warning').length
  if (options.json) {
    const { peer, gpu } = looked
    printJson(context, {
      ok: problems === 0,
      problems,
      warnings,
      findings,
      peer: peer === undefined ? null : { id: peer.peer.id, pid: peer.pid, mesh: peer.mesh },
      gpu: gpu ?? null,
    })
  } else {
    context.stdout.write(doctorText(findings, await styleFor(context, context.stdout)))
  }
  return problems === 0 ? EXIT.ok : EXIT.failed
}

type PeerLooked = Pick<Looked, 'peer' | 'peerError'>

const NO_PEER: PeerLooked = { peer: undefined, peerError: undefined }

/** A peer whose process is stopped takes the connection and never answers. */
async function lookAtPeer(context: Context, dataDir: string): Promise<PeerLooked> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<PeerLooked>((resolve) => {
    const peerError = `no answer after ${formatDuration(PEER_ANSWER_MS / 1000)}`
    timer = setTimeout(() => resolve({ peer: undefined, peerError }), PEER_ANSWER_MS)
  })
  try {
    return await Promise.race([askPeer(context, dataDir), late])
  } finally {
    clearTimeout(timer)
  }
}

async function askPeer(context: Context, dataDir: string): Promise<PeerLooked> {
  try {
    const backend = await context.attach(dataDir)
    if (backend === undefined) return NO_PEER
    try {
      return { peer: await backend.status(), peerError: undefined }
    } finally {
      await backend.close()
    }
  } catch (error) {
    return { peer: undefined, peerError: (error as Error).message }
  }
}

async function lookAtGpu(
  looking: Looking,
  device: string | undefined,
): Promise<Pick<Looked, 'gpu' | 'gpuError'>> {
  try {
    return { gpu: await looking.gpu(device), gpuError: undefined }
  } catch (error) {
    return { gpu: undefined, gpuError: (error as Error).message }
  }
}

/** What `mesh doctor` prints for people. */
function doctorText(findings: readonly Finding[], style: Style): string {
  const width = Math.max(...findings.map(({ check }) => check.length))
  const paint = { ok: style.green, warning: style.yellow, problem: style.red }
  const indent = ' '.repeat(2 + 'problem'.length + 2 + width + 2)
  const lines: string[] = []
  for (const { check, level, found, means, advice } of findings) {
    const label = paint[level](level.padEnd('problem'.length))
    lines.push(`  ${label}  ${check.padEnd(width)}  ${found}`)
    if (means !== '') lines.push(style.dim(indent + means))
    lines.push(...advice.map((text) => `${indent}- ${text}`))
  }
  return `${lines.join('\n')}\n\n${summary(findings)}\n`
}

function summary(findings: readonly Finding[]): string {
  const count = (level: Finding['level']) => findings.filter((each) => each.level === level).length
  const [problems, warnings] = [count('problem'), count('warning')]
  if (problems + warnings === 0) return 'all is well'
  const parts = [
    ...(problems > 0 ? [plural(problems, 'problem')] : []),
    ...(warnings > 0 ? [plural(warnings, 'warning')] : []),
  ]
  return parts.join(', ')
}

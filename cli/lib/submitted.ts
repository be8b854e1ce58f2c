/** What becomes of a job that a command has just submitted. */
import type { Job } from '../../src/client/job.ts'
import { dataFlag, otherPeers } from './come-back.ts'
import type { Context, PeerOptions } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { followJob } from './follow.ts'
import type { Interrupt } from './interrupt.ts'
import type { Library } from './library.ts'
import { note, printJson } from './output.ts'
import { type PictureFlags, pictureOptions } from './picture.ts'
import { reopenerOf, type Session } from './session.ts'

interface ResultFlags extends PictureFlags {
  readonly errors?: string
  readonly json?: boolean
  readonly quiet?: boolean
}

/** Says that the job is submitted, or that it was before. */
export function tellSubmitted(context: Context, { id, attached }: Job, silent: boolean): void {
  const short = id.slice(0, 8)
  if (!attached) note(context, `job ${short} submitted`, silent)
  else note(context, `job ${short} was submitted before with this key: its results follow`, silent)
}

export interface Following {
  readonly flags: ResultFlags
  readonly peer: Omit<PeerOptions, 'dataDir'>
  /** Extents of a kernel's output. */
  readonly size?: readonly number[] | undefined
}

/** Reads its results until it ends; returns the exit code. */
export async function followSubmitted(
  context: Context,
  session: Session,
  library: Library,
  job: Job,
  { flags, peer, size }: Following,
  interrupt: Interrupt,
): Promise<number> {
  const follow = {
    job,
    ...(size === undefined ? {} : { size }),
    wait: true,
    json: flags.json === true,
    quiet: flags.quiet === true,
    ...pictureOptions(flags),
    ...(await reopenerOf(context, session, peer)),
    ...(flags.out === undefined ? {} : { out: flags.out }),
    ...(flags.errors === undefined ? {} : { errors: flags.errors }),
  }
  return await followJob(context, session, library, follow, interrupt)
}

/** Prints the job's id, and says so when it lives here alone. */
export async function tellDetached(
  context: Context,
  session: Session,
  { id, heldBy, attached, retried }: Job,
  flags: ResultFlags,
): Promise<number> {
  if (flags.json) {
    printJson(context, {
      job: id,
      heldBy,
      ...(attached && { attached }),
      ...(retried !== undefined && { retried }),
    })
  } else context.stdout.write(`${id}\n`)
  const silent = flags.json === true || flags.quiet === true
  if (attached) note(context, 'it was submitted before with this key: nothing new runs', silent)
  if (heldBy.length > 0 || attached) return EXIT.ok
  const where = await dataFlag(context, session.dataDir)
  if (session.embedded) {
    const why =
      (await otherPeers(session)) === 0
        ? 'no other peer is connected'
        : 'no other peer could take all of it'
    note(
      context,
      `${why}: the job is kept in ${session.dataDir} only, and runs when a peer does there: mesh join${where}`,
      silent,
    )
  } else {
    note(
      context,
      `no other peer has all of the job: it lives as long as the peer that runs here`,
      silent,
    )
  }
  return EXIT.ok
}

import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import { MeshError } from '../../src/base/errors.ts'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { ATTACH_RETRY_MS, LEAVE_WAIT_MS } from '../lib/limits.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { note, printJson } from '../lib/output.ts'
import { attachOnly } from '../lib/session.ts'

export function register(program: Command, app: App): void {
  withCommonOptions(
    program.command('leave').description('stop the peer that runs on this folder, cleanly'),
  ).action(async (options: CommonOptions) => app.finish(await leave(app.context, options)))
}

async function leave(context: Context, options: CommonOptions): Promise<number> {
  const { backend, dataDir } = await attachOnly(context, options)
  const { peer, pid } = await backend.status()
  await backend.leave()
  await backend.close()
  await untilGone(context, dataDir, pid)
  if (options.json) printJson(context, { left: true, peer: peer.id, pid, dataDir })
  else note(context, `peer ${peer.short} has left the mesh`)
  return EXIT.ok
}

/** `leave` returns when the folder is free, so that the next command can use it. */
async function untilGone(context: Context, dataDir: string, pid: number): Promise<void> {
  const until = context.now() + LEAVE_WAIT_MS
  for (;;) {
    const still = await context.attach(dataDir)
    if (still === undefined) return
    await still.close()
    if (context.now() > until) {
      throw new MeshError(
        'ERR_MESH_TIMEOUT',
        `the peer was asked to leave ${LEAVE_WAIT_MS / 1000} s ago and still runs as process ${pid}`,
        { details: { pid, dataDir } },
      )
    }
    await delay(ATTACH_RETRY_MS)
  }
}

import { isMeshError, MeshError } from '../base/errors.ts'
import type { JobInfo } from '../node/types.ts'

/** Why the reading of a job ended with `seen` of its items; `asked` gives its state, or rejects with what the peer says. */
export async function whyMissing(
  job: string,
  asked: Promise<JobInfo>,
  seen: number,
  items: number,
): Promise<MeshError> {
  const details = { job, items, missing: items - seen }
  const info = await asked.catch((error: unknown) => error)
  if (isMeshError(info)) return info.code === 'ERR_MESH_JOB_UNKNOWN' ? info : stoppedEarly(info)
  const { state, cancelled = null } = info as Partial<JobInfo>
  const of = `${details.missing} of ${items} items`
  if (state === 'cancelled') {
    const by = cancelled === null ? '' : ` by ${cancelled.name}`
    const reason = cancelled?.reason ? ` (${cancelled.reason})` : ''
    return new MeshError(
      'ERR_MESH_JOB_CANCELLED',
      `the job was cancelled${by}${reason}: ${of} have no result`,
      { details: { ...details, ...(cancelled !== null && { cancelled }) } },
    )
  }
  if (state === 'finished') {
    return new MeshError(
      'ERR_MESH_RESULT_LOST',
      `the job is finished, but the results of ${of} are on no peer that is connected now`,
      { details },
    )
  }
  return stoppedEarly(info)
}

export function stoppedEarly(cause?: unknown): MeshError {
  return new MeshError(
    'ERR_MESH_STOPPED',
    'the peer stopped before the job ended: the job goes on where it is held; read it again with mesh.job(id)',
    cause instanceof Error ? { cause } : {},
  )
}

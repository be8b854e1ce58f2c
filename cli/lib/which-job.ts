import { MeshError } from '../../src/base/errors.ts'

/** The folder holds no peer, so no job either. */
export function unknownJob(id: string): MeshError {
  const what = id === 'last' ? 'no job has been submitted here yet' : `no job '${id}' is known here`
  return new MeshError('ERR_MESH_JOB_UNKNOWN', what, { details: { job: id } })
}

/**
 * Payloads of the frames by which a worker has kernels computed. Its peer believes none of it: readers throw ERR_MESH_PROTOCOL.
 *
 *     gpuArray   hash (32 bytes), then the array: f32, little-endian. The peer keeps it for this worker…
 *     gpuForget  hash. …until here; a call that came before still has it.
 *     gpuCall    id u32, then the kernel as src/gpu/kernel-codec.ts writes it; its arrays are among those that are kept
 *     gpuCancel  id u32: no answer is waited for
 *     gpuResult  id u32, then the output: f32, little-endian
 *     gpuFailed  id u32, then msgpack { code, message }
 */
import { fromHex, toHex } from '../../base/bytes.ts'
import { MeshError, type MeshErrorCode } from '../../base/errors.ts'
import { MAX_GPU_ARRAY_BYTES, MAX_GPU_SPEC_BYTES, MAX_MESSAGE_CHARS } from '../limits.ts'
import { decodeValue, encodeValue } from '../segment.ts'

const HASH_BYTES = 32
const ID_BYTES = 4
const F32_BYTES = 4

export interface GpuFailure {
  readonly code: MeshErrorCode
  readonly message: string
}

export function gpuHash(hash: string): Uint8Array {
  return fromHex(hash)
}

export function gpuId(id: number): Uint8Array {
  const bytes = new Uint8Array(ID_BYTES)
  new DataView(bytes.buffer).setUint32(0, id, true)
  return bytes
}

export function gpuFailure(failure: GpuFailure): Uint8Array {
  const { code, message } = failure
  return encodeValue({ code, message: message.slice(0, MAX_MESSAGE_CHARS) })
}

export function readGpuArray(payload: Uint8Array): { hash: string; bytes: Uint8Array } {
  const bytes = payload.subarray(HASH_BYTES)
  const fits = bytes.length > 0 && bytes.length <= MAX_GPU_ARRAY_BYTES
  if (!fits || bytes.length % F32_BYTES !== 0) throw wrong(`an array of ${bytes.length} bytes`)
  return { hash: toHex(payload.subarray(0, HASH_BYTES)), bytes }
}

export function readGpuForget(payload: Uint8Array): string {
  if (payload.length !== HASH_BYTES) throw wrong('no hash')
  return toHex(payload)
}

export function readGpuCall(payload: Uint8Array): { id: number; spec: Uint8Array } {
  const id = readGpuId(payload)
  const spec = payload.subarray(ID_BYTES)
  if (spec.length > MAX_GPU_SPEC_BYTES) throw wrong(`a kernel of ${spec.length} bytes`)
  return { id, spec }
}

/** The id that a payload begins with. */
export function readGpuId(payload: Uint8Array): number {
  if (payload.length < ID_BYTES) throw wrong('no id')
  return new DataView(payload.buffer, payload.byteOffset, ID_BYTES).getUint32(0, true)
}

/** In the worker, which believes its peer. The array is its own. */
export function readGpuResult(payload: Uint8Array): Float32Array<ArrayBuffer> {
  return new Float32Array(new Uint8Array(payload.subarray(ID_BYTES)).buffer)
}

/** In the worker, which believes its peer. */
export function readGpuFailed(payload: Uint8Array): MeshError {
  const { code, message } = decodeValue(payload.subarray(ID_BYTES)) as GpuFailure
  return new MeshError(code, message)
}

function wrong(what: string): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', `a worker's kernel call is wrong: ${what}`)
}

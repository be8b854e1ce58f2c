import * as fc from 'fast-check'
import { it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import { decodeMessage } from '../../../src/node/wire/decode.ts'
import { encodeMessage } from '../../../src/node/wire/encode.ts'
import { damaged, message, messages } from './arbitrary.ts'
const opt = { endOnFailure: true, numRuns: 1e9, interruptAfterTimeLimit: 40_000, verbose: 0 as const }
const prop = (arb: any) => fc.property(arb.chain((v: any) => damaged(encodeMessage(v))), (bytes: Uint8Array) => {
  let m
  try { m = decodeMessage(bytes) } catch (e) { if (isMeshError(e, 'ERR_MESH_PROTOCOL')) return; throw e }
  if (Buffer.compare(encodeMessage(m), bytes) !== 0) throw new Error(`differs ${JSON.stringify(m)}`)
})
it('steal', () => { const r = fc.check(prop(fc.oneof(messages.steal, messages.lifeline)), opt); console.log(r.numRuns, r.failed, String(r.errorInstance).slice(0, 500)) }, 100_000)
it('all', () => { const r = fc.check(prop(message), opt); console.log(r.numRuns, r.failed, String(r.errorInstance).slice(0, 500)) }, 100_000)
it('rt', () => { const r = fc.check(fc.property(message, (v) => { const b = encodeMessage(v); if (Buffer.compare(encodeMessage(decodeMessage(b)), b) !== 0) throw new Error('rt') }), { ...opt, interruptAfterTimeLimit: 20_000 }); console.log(r.numRuns, r.failed, String(r.errorInstance).slice(0, 300)) }, 100_000)

/** Entry of the probe's process: finds the device, tries known answers, measures, says so and ends. Started by launch.ts. */
import { exitNow, report } from '../../runtime/worker/reporter.ts'
import { bootWebgpu } from '../boot.ts'
import { acquireDevice, gpuJsFault, startGpuJs } from './gpujs.ts'
import { tryKnownAnswers } from './known-answers.ts'
import { MESSAGE, type NoGpuMessage, type ProbedMessage } from './messages.ts'
import { type Score, scoreDevice } from './score.ts'

const NO_SCORE: Score = { gflops: 0, upMBs: 0, downMBs: 0 }

async function probe(device: string | undefined): Promise<void> {
  const fault = gpuJsFault()
  if (fault !== undefined) {
    const why = { kind: 'compiler', message: fault } as const
    report(MESSAGE.noGpu, { why, adapters: [] } satisfies NoGpuMessage)
    return
  }
  const boot = await bootWebgpu(device)
  if (!boot.ok) {
    report(MESSAGE.noGpu, { why: boot.why, adapters: boot.adapters } satisfies NoGpuMessage)
    return
  }
  const { found, adapters } = boot
  const { name, deviceClass, software } = found
  const { limits } = found.adapter
  try {
    const context = await acquireDevice()
    const wrong = await tryKnownAnswers(startGpuJs('webgpu'))
    const score = wrong === '' ? await scoreDevice(context.device) : NO_SCORE
    const probed: ProbedMessage = {
      ...{ name, deviceClass, software, adapters, wrong },
      ...score,
      maxBufferBytes: Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize),
      maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
    }
    report(MESSAGE.probed, probed)
  } catch (error) {
    const why = { kind: 'broken', message: (error as Error).message } as const
    report(MESSAGE.noGpu, { why, adapters } satisfies NoGpuMessage)
  }
}

await probe(process.argv[2])
exitNow(0)

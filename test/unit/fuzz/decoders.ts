/** All of them. A new decoder is one more row in one of these tables; table.test.ts fails until it is there. */
import type { Decoder } from './decoder.ts'
import { controlDecoders } from './decoders-control.ts'
import { gpuDecoders } from './decoders-gpu.ts'
import { gpuMessageDecoders } from './decoders-gpu-messages.ts'
import { runtimeDecoders } from './decoders-runtime.ts'
import { storeDecoders } from './decoders-store.ts'
import { transportDecoders } from './decoders-transport.ts'
import { wireDecoders } from './decoders-wire.ts'

export const decoders: readonly Decoder[] = [
  ...wireDecoders,
  ...transportDecoders,
  ...storeDecoders,
  ...controlDecoders,
  ...runtimeDecoders,
  ...gpuDecoders,
  ...gpuMessageDecoders,
]

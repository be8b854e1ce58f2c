import { afterAll, beforeAll, describe } from 'vitest'
import { complianceOf } from './compliance.ts'
import { SWIFTSHADER, useSwiftShader } from './swiftshader.ts'

describe.skipIf(SWIFTSHADER === undefined)(
  'kernels on a GPU (SwiftShader; skipped where @sparticuz/chromium is not installed)',
  () => {
    let restore = (): void => {}
    beforeAll(() => {
      restore = useSwiftShader(SWIFTSHADER!)
    })
    afterAll(() => restore())

    complianceOf({ backend: 'webgpu' }, { deviceClass: /swiftshader/, tolerance: 0.02 })
  },
)

import { describe } from 'vitest'
import { complianceOf } from './compliance.ts'

describe('kernels on the CPU', () => {
  complianceOf({ backend: 'webasm' }, { deviceClass: /^webasm v8-/, tolerance: 0 })
})

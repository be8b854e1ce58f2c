import { onTestFinished } from 'vitest'
import { createMemoryStore } from '../../../src/store/memory-store.ts'
import { storeCompliance } from './compliance.ts'

storeCompliance({
  name: 'memory store',
  files: false,
  open: async ({ peer, sign }) => {
    const store = createMemoryStore({ self: peer, sign })
    onTestFinished(() => store.close().catch(() => {}))
    return store
  },
})

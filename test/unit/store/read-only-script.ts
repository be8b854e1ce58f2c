/** Opens a data folder as a peer does, and prints what comes of each step: `read-only-script DIR`. */
import { isMeshError } from '../../../src/base/errors.ts'
import { lockFolder } from '../../../src/store/folder-lock.ts'
import { loadOrCreateIdentity } from '../../../src/store/identity.ts'
import { openStore } from '../../../src/store/level-store.ts'
import { peerOf } from './writers.ts'

const dir = process.argv[2]!
const self = peerOf('self')
const steps = {
  lock: () => lockFolder(dir),
  identity: () => loadOrCreateIdentity(dir),
  store: () => openStore({ dir, self: self.peer, sign: self.sign }),
}
for (const [name, step] of Object.entries(steps)) {
  const outcome = await step().then(
    () => 'done',
    (error: unknown) => (isMeshError(error) ? `${error.code} ${error.message}` : String(error)),
  )
  process.stdout.write(`${name}: ${outcome}\n`)
}
process.exit()

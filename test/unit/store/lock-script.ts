/** Locks the folder of its first argument, says so, and holds it until its stdin ends or says what to do. */
import { createInterface } from 'node:readline'
import { isMeshError } from '../../../src/base/errors.ts'
import { type FolderLock, lockFolder } from '../../../src/store/folder-lock.ts'

const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`)

async function lock(): Promise<FolderLock> {
  try {
    const held = await lockFolder(process.argv[2]!, { role: 'mesh join' })
    say({ locked: held.owner })
    return held
  } catch (error) {
    say({ code: isMeshError(error) ? error.code : 'other', message: String(error) })
    process.exit(1)
  }
}

const held = await lock()
for await (const line of createInterface({ input: process.stdin })) {
  const [command, argument] = line.split(' ')
  if (command === 'socket') await held.update({ socket: argument! })
  if (command === 'release') await held.release()
  say({ did: command })
}
process.exit(0)

import { parseArgs } from 'node:util'
import { joinMesh, type Mesh } from 'meshwork'

/**
 * What the examples' run.ts files share: `joinMesh()` with options from the command line. With none of them, it uses this
 * machine's cores alone.
 *
 *   node dist/examples/primes/run.js [--ticket T] [--data DIR] [--cores N] [--listen MULTIADDR] [--no-mdns]
 */
export async function joinFromArguments(): Promise<Mesh> {
  const { values } = parseArgs({
    options: {
      ticket: { type: 'string' },
      data: { type: 'string' },
      cores: { type: 'string' },
      listen: { type: 'string', multiple: true },
      'no-mdns': { type: 'boolean' },
    },
  })
  return joinMesh({
    ...(values.ticket !== undefined && { ticket: values.ticket }),
    ...(values.data !== undefined && { dataDir: values.data }),
    ...(values.cores !== undefined && { cores: Number(values.cores) }),
    ...(values.listen !== undefined && { listen: values.listen }),
    ...(values['no-mdns'] === true && { mdns: false }),
  })
}

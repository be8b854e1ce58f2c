import { describe, expect, it } from 'vitest'
import { missingNeeds, type Offer } from '../../../src/node/job-needs.ts'
import type { BlobHash, JobSpec, Requires } from '../../../src/scheduler/types.ts'
import { specOf } from '../store/writers.ts'

const GIB = 2 ** 30

function spec(requires: Requires): JobSpec {
  return { ...specOf('needs'), options: { requires } }
}

function offer(change: Partial<Offer> = {}): Offer {
  return { cores: 4, memoryBytes: 8 * GIB, gpu: false, labels: {}, ...change }
}

describe('what a job requires and nobody has', () => {
  it.each<[string, Requires, Offer[], string | null]>([
    ['nothing', {}, [], null],
    ['what one peer has', { cores: 4, memoryBytes: 8 * GIB }, [offer()], null],
    ['cores', { cores: 5 }, [offer()], 'a peer with 5 cores'],
    ['a GPU', { gpu: true }, [offer()], 'a peer with a GPU'],
    ['memory', { memoryBytes: 16 * GIB }, [offer()], 'a peer with 16384 MiB of memory'],
    ['a label', { labels: { zone: 'eu' } }, [offer()], 'a peer with label zone=eu'],
    [
      'a value of a label',
      { labels: { zone: 'eu' } },
      [offer({ labels: { zone: 'us' } })],
      'a peer with label zone=eu',
    ],
    ['a bare label', { labels: { fast: '' } }, [offer()], 'a peer with label fast'],
    [
      'of several only what is missing',
      { cores: 4, gpu: true, labels: { zone: 'eu' } },
      [offer({ labels: { zone: 'eu' } })],
      'a peer with a GPU',
    ],
    [
      'what two have, but none alone',
      { gpu: true, labels: { zone: 'eu' } },
      [offer({ labels: { zone: 'eu' } }), offer({ gpu: true })],
      'a peer with at once a GPU and label zone=eu',
    ],
    ['anything, with nobody there', { cores: 1, gpu: true }, [], 'a peer with a GPU and 1 core'],
  ])('%s', (_, requires, offers, missing) => {
    expect(missingNeeds(spec(requires), offers)).toBe(missing)
  })

  it('a label called like a method of objects is no label', () => {
    expect(missingNeeds(spec({ labels: { constructor: '' } }), [offer()])).toBe(
      'a peer with label constructor',
    )
  })

  it("a kernel's own word counts as well", () => {
    const kernel: JobSpec = {
      ...spec({ cores: 2 }),
      task: {
        kind: 'kernel',
        name: 'k',
        bundle: 'cd'.repeat(32) as BlobHash,
        bundleBytes: 1,
        arrays: [],
        output: [8],
        requiresGpu: true,
      },
    }
    expect(missingNeeds(kernel, [offer()])).toBe('a peer with a GPU')
    expect(missingNeeds(kernel, [offer({ gpu: true })])).toBeNull()
  })
})

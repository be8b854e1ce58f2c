import type { JobSpec, Requires } from '../scheduler/types.ts'

/** What a peer has, as far as jobs ask for it. */
export interface Offer {
  readonly cores: number
  readonly memoryBytes: number
  readonly gpu: boolean
  readonly labels: Readonly<Record<string, string>>
}

interface Need {
  readonly text: string
  readonly met: (offer: Offer) => boolean
}

/** What no peer of these has that the job requires, in words ('a peer with a GPU'); null: somebody has all of it. */
export function missingNeeds(spec: JobSpec, offers: readonly Offer[]): string | null {
  const needs = needsOf(spec)
  if (needs.length === 0 || offers.some((offer) => needs.every(({ met }) => met(offer))))
    return null
  // What nobody has alone is what is missing; else it is their being together.
  const nowhere = needs.filter(({ met }) => !offers.some(met))
  const [missing, how] = nowhere.length > 0 ? [nowhere, ''] : [needs, 'at once ']
  const words = missing.map(({ text }) => text)
  const list = words.length > 1 ? `${words.slice(0, -1).join(', ')} and ${words.at(-1)}` : words[0]
  return `a peer with ${how}${list}`
}

function needsOf({ task, options }: JobSpec): Need[] {
  const requires: Requires = options.requires ?? {}
  const { cores, memoryBytes, labels = {} } = requires
  const gpu = requires.gpu === true || (task.kind === 'kernel' && task.requiresGpu)
  return [
    ...(gpu ? [{ text: 'a GPU', met: (offer: Offer) => offer.gpu }] : []),
    ...(cores === undefined
      ? []
      : [
          {
            text: cores === 1 ? '1 core' : `${cores} cores`,
            met: (offer: Offer) => offer.cores >= cores,
          },
        ]),
    ...(memoryBytes === undefined
      ? []
      : [
          {
            text: `${Math.round(memoryBytes / 2 ** 20)} MiB of memory`,
            met: (offer: Offer) => offer.memoryBytes >= memoryBytes,
          },
        ]),
    ...Object.entries(labels).map(([name, value]) => ({
      text: `label ${name}${value === '' ? '' : `=${value}`}`,
      met: (offer: Offer) => Object.hasOwn(offer.labels, name) && offer.labels[name] === value,
    })),
  ]
}

/** How an item of a composition says that it failed since another did (docs/protocol.md, "Plan"). */
import { MAX_STEPS_TOLD } from './limits.ts'

/** Before the message of what failed first; once, however long the way. */
export const INPUT_FAILED = 'its input failed: '

export const isInputFailure = (message: string): boolean => message.startsWith(INPUT_FAILED)

interface Step {
  /** An index of `tasks`. */
  readonly task: number
}

/** What people call a node of a plan: its tasks, in their order. */
export function nodeName(
  tasks: readonly { readonly name: string }[],
  node: { readonly steps: readonly Step[]; readonly combine?: { readonly step: Step } | undefined },
): string {
  const { steps, combine } = node
  const named = steps.slice(0, MAX_STEPS_TOLD).map(({ task }) => tasks[task]!.name)
  if (steps.length > MAX_STEPS_TOLD) named.push(`… (${steps.length} steps)`)
  if (combine !== undefined) named.push(tasks[combine.step.task]!.name)
  return named.join(' | ')
}

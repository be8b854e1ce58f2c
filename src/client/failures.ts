import { MeshError } from '../base/errors.ts'
import type { TaskBundle } from '../runtime/bundle.ts'
import { mapStack } from '../runtime/stacks.ts'
import { MAX_FAILURES_IN_ERROR } from './limits.ts'
import type { ItemFailure } from './results.ts'

/** Different stacks that are remembered with their mapped form: failures of one job mostly share a few. */
const MAX_MAPPED_STACKS = 256

/** Maps the stacks of failed items from the bundle to the user's own source, where this process made the bundle. */
export function createStackMapper(
  bundle: TaskBundle | readonly TaskBundle[] | undefined,
): (failure: ItemFailure) => ItemFailure {
  if (bundle === undefined) return (failure) => failure
  const bundles = Array.isArray(bundle) ? (bundle as readonly TaskBundle[]) : [bundle as TaskBundle]
  const mapped = new Map<string, string>()
  return (failure) => {
    if (failure.stack === undefined) return failure
    let stack = mapped.get(failure.stack)
    if (stack === undefined) {
      stack = failure.stack
      for (const { map, hash } of bundles) stack = mapStack(stack, map, hash)
      if (mapped.size < MAX_MAPPED_STACKS) mapped.set(failure.stack, stack)
    }
    return { ...failure, stack }
  }
}

/** Counts failures and keeps the first of them, for the error at the end. */
export class FailureTally {
  count = 0
  readonly first: ItemFailure[] = []

  add(failures: readonly ItemFailure[]): void {
    this.count += failures.length
    for (const failure of failures) {
      if (this.first.length >= MAX_FAILURES_IN_ERROR) return
      this.first.push(failure)
    }
  }
}

/** ERR_MESH_ITEMS_FAILED: says how many, and what the first one was. */
export function itemsFailed(
  items: number,
  count: number,
  failures: readonly ItemFailure[],
  details: Record<string, unknown>,
): MeshError {
  const first = failures[0]
  const why = first === undefined ? '' : `; item ${first.index}: ${first.name}: ${first.message}`
  return new MeshError(
    'ERR_MESH_ITEMS_FAILED',
    `${count} of ${items} item${items === 1 ? '' : 's'} failed${why}`,
    { details: { failed: count, ...details, failures } },
  )
}

/**
 * What `import … from 'meshwork'` is inside a bundle: whatever the worker that runs it supplies (worker/bundle-runtime.ts). One
 * line that never changes, so that a bundle's hash does not depend on the version of this package that made it.
 */
export const taskStubSource = 'module.exports = globalThis[Symbol.for("meshwork.runtime")]'

/** Set by a bundle made with `module: import.meta.url`: the name of the task to run among those that its module defines. */
export const pickTaskSource = (name: string): string =>
  `globalThis[Symbol.for("meshwork.pick")] = ${JSON.stringify(name)};`

export const RUNTIME_SYMBOL: unique symbol = Symbol.for('meshwork.runtime') as never
export const PICK_SYMBOL: unique symbol = Symbol.for('meshwork.pick') as never

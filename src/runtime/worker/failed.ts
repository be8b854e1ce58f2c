/** How an item ends for good without its task's doing: nothing is tried again. */
import { INPUT_FAILED, isInputFailure } from '../failed-inputs.ts'
import { MAX_INPUT_FAILURE_CHARS } from '../limits.ts'
import type { ItemError } from '../types.ts'

/** Stands for the value of an element that failed before, and is thrown in the place of an error: it needs no stack. */
export class Failed {
  readonly error: { readonly code: string; readonly name: string; readonly message: string }

  constructor(code: string, name: string, message: string) {
    this.error = { code, name, message }
  }
}

/** What an item fails with whose input has failed so. One ancestor may take many with it: its message is kept short. */
export function failedInput({ code, name, message }: ItemError): Failed {
  const told = isInputFailure(message) ? message : `${INPUT_FAILED}${message}`
  const short =
    told.length > MAX_INPUT_FAILURE_CHARS ? `${told.slice(0, MAX_INPUT_FAILURE_CHARS)}…` : told
  return new Failed(code, name, short)
}

/** The input cannot be read: that is the peer's fault, not the item's. */
export class InputLost extends Error {}

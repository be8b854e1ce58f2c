/** The source text of a function that a user wrote, as a kernel travels: `function (a, b) { … }`. */

const FUNCTION = /^function\s*(?:[A-Za-z_$][\w$]*)?\s*\(/
/** `kernel(a, b) { … }`, the short way to write a method. */
const METHOD = /^(?:[A-Za-z_$][\w$]*|'[^'\\]*'|"[^"\\]*")\s*\(/
const ARROW = /^(?:\(|[A-Za-z_$][\w$]*\s*=>)/
const WRITE = 'write `kernel: function (a, b) { … }`'

/** Its text, or why it cannot be a kernel and what to write instead. */
export function textOfKernel(
  // biome-ignore lint/complexity/noBannedTypes: only its text matters
  kernel: Function,
): { readonly source: string } | { readonly fault: string } {
  const text = Function.prototype.toString.call(kernel)
  const kind = Object.prototype.toString.call(kernel)
  if (/\{\s*\[native code\]\s*\}\s*$/.test(text)) {
    return {
      fault: `is bound or built in, so that its text is not known: ${WRITE}, where it stands`,
    }
  }
  if (kind === '[object GeneratorFunction]' || kind === '[object AsyncGeneratorFunction]') {
    return { fault: `is a generator, but a kernel returns once: ${WRITE}` }
  }
  if (kind === '[object AsyncFunction]') {
    return { fault: `is async, but a kernel cannot wait: ${WRITE}` }
  }
  if (/^class\b/.test(text)) return { fault: `is a class: ${WRITE}` }
  if (ARROW.test(text)) return { fault: `is an arrow function, which has no this.thread: ${WRITE}` }
  if (!FUNCTION.test(text) && !METHOD.test(text)) {
    return { fault: `has a name that is computed, or a getter's or setter's form: ${WRITE}` }
  }
  return { source: `function ${text.slice(text.indexOf('('))}` }
}

/** The words of the kernel language: what may be called, which operators there are, and which names are free. */

/** Functions of Math that WebGPU and WebAssembly both have in gpu.js, with the number of arguments that both take. */
export const MATH_FUNCTIONS: ReadonlyMap<string, number> = new Map([
  ...'abs acos acosh asin asinh atan atanh cbrt ceil cos cosh exp expm1 floor fround log log10 log1p log2 round sign sin sinh sqrt tan tanh trunc'
    .split(' ')
    .map((name) => [name, 1] as const),
  ...'atan2 max min pow'.split(' ').map((name) => [name, 2] as const),
])

export const MATH_CONSTANTS: ReadonlySet<string> = new Set(
  'E PI SQRT2 SQRT1_2 LN2 LN10 LOG2E LOG10E'.split(' '),
)

/** Why a function of Math that JavaScript has is not there, where there is more to say than its absence. */
export const MATH_REFUSED: ReadonlyMap<string, string> = new Map([
  [
    'random',
    'Math.random would give other numbers in each slicing: pass seeds as an argument, or hash this.thread.* with integer arithmetic (&, ^, <<, >>)',
  ],
  [
    'imul',
    'Math.imul is rounded to 24 bits on a device: multiply numbers below 4096, or use & and >> to keep products below 16777216',
  ],
  ['clz32', 'Math.clz32 is not the same on every device: write 31 - Math.floor(Math.log2(x))'],
  ['hypot', 'a device has no Math.hypot: write Math.sqrt(x * x + y * y)'],
])

/** What these functions give is whole whatever they are given. */
export const WHOLE_RESULTS: ReadonlySet<string> = new Set([
  'ceil',
  'floor',
  'round',
  'sign',
  'trunc',
])

export const ARITHMETIC: ReadonlySet<string> = new Set(['+', '-', '*', '/', '%'])
export const BITWISE: ReadonlySet<string> = new Set(['&', '|', '^', '<<', '>>', '>>>'])
export const COMPARISONS: ReadonlySet<string> = new Set([
  '<',
  '>',
  '<=',
  '>=',
  '==',
  '===',
  '!=',
  '!==',
])
export const ASSIGNMENTS: ReadonlySet<string> = new Set(['=', '+=', '-=', '*=', '/=', '%='])

/** Names that the rewriting adds begin with this, so that no kernel may use it. */
export const OWN_PREFIX = 'mesh_'

const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,39}$/

/**
 * gpu.js keeps names as keys of plain objects, so that those of Object.prototype find what nobody declared; the others mean
 * something in JavaScript. Words of WGSL, GLSL and C need no place here: gpu.js writes `user_` before each name.
 */
const TAKEN: ReadonlySet<string> = new Set([
  ...Object.getOwnPropertyNames(Object.prototype),
  ...'Math Infinity NaN undefined arguments eval async await yield let static globalThis'.split(
    ' ',
  ),
])
/** `this.constants.thread` is read by gpu.js as `this.thread`. */
const TAKEN_CONSTANTS: ReadonlySet<string> = new Set(['thread', 'output', 'constants'])

/** Why this may not name a variable or a parameter; undefined when it may. */
export function nameFault(name: string): string | undefined {
  if (name.includes('__')) return `the name "${name}" holds "__", which devices keep for themselves`
  if (!NAME.test(name)) {
    return `the name "${name}" must be 1 to 40 letters (a-z), digits and underscores, and not begin with a digit`
  }
  if (name.startsWith(OWN_PREFIX)) {
    return `the name "${name}" begins with "${OWN_PREFIX}", which is kept for what the mesh adds`
  }
  return TAKEN.has(name) ? `the name "${name}" is taken: choose another` : undefined
}

/** Why this may not name a constant; undefined when it may. */
export function constantNameFault(name: string): string | undefined {
  if (TAKEN_CONSTANTS.has(name)) {
    return `a constant must not be called "${name}": choose another name`
  }
  return nameFault(name)
}

/** Every maximum of a kernel as it is written and travels, with its reason. limits.ts has those of the processes that run it. */

/** Characters of a source: a thousand lines of arithmetic; what is longer is generated. */
export const MAX_SOURCE_CHARS = 16 * 1024
/** Syntax inside syntax: the compilers behind gpu.js recurse, and drivers give up near 128. */
export const MAX_DEPTH = 64
/** `?:` inside `?:`: gpu.js takes twice the time for each. */
export const MAX_CHOICES = 8
/** Arguments of a kernel. A device has room for 8 to 64 buffers; which, is known at launch. */
export const MAX_ARGS = 32
/** Constants of a kernel. */
export const MAX_CONSTANTS = 64
/** Characters of a kernel's name, as of a task's. */
export const MAX_KERNEL_NAME = 128
/** Extent of one axis: an index is an f32 now and then, which is exact up to here. */
export const MAX_AXIS = 2 ** 24
/** Elements of an output: 1 GiB, which its submitter holds in memory as one array. */
export const MAX_OUTPUT_ELEMENTS = 2 ** 28
/** Elements of an array argument: 64 MiB, what travels as one blob from a program to its peer. */
export const MAX_ARRAY_ELEMENTS = 2 ** 24
/** Iterations of one loop: a counter that is an f32 stands still beyond. */
export const MAX_LOOP_ITERATIONS = 2 ** 24
/** gpu.js ends a loop here, without a word, where loopMaxIterations is not set. */
export const UNSTATED_LOOP_ITERATIONS = 1000
/** Literals that gpu.js takes as i32. */
export const MAX_INTEGER = 2 ** 31 - 1
/** The largest f32; WGSL has no larger literal. */
export const MAX_F32 = 3.4028234663852886e38
/** Bytes of a kernel's blob: source, constants and arguments at their longest. */
export const MAX_SPEC_BYTES = 64 * 1024

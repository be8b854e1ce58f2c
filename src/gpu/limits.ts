/** Every maximum of the GPU processes, with its reason. Sizes are bytes, times milliseconds. */

const MiB = 1024 * 1024

/** Launches that wait for one process; its callers are the slots of this peer, each with a few calls at a time. */
export const MAX_QUEUED_LAUNCHES = 1024
/** Output of one launch: it is held in memory on both sides and travels in one frame. 2^24 elements, the longest row there is. */
export const MAX_LAUNCH_BYTES = 64 * MiB
/** Arrays, slices and output of one kernel on the CPU: one WebAssembly memory, whose addresses end at 4 GiB. */
export const MAX_KERNEL_BYTES = 2048 * MiB
/** What one compiled kernel has room for at once, output and slices: launches up to this size compile nothing anew. */
export const ROOM_BYTES = 64 * MiB
/** Compiled kernels and arrays that a process keeps for the next launch; what was not used longest goes first. */
export const MAX_RESIDENT_BYTES = 1024 * MiB
/** A device with less memory than this is full sooner; WebGPU does not tell how much there is. */
export const MAX_DEVICE_BYTES = 2048 * MiB
/** Compiled kernels kept, whatever their size: each holds some 2 MB of pipeline or module and source. */
export const MAX_KERNELS = 32

/** Start of the process until it is ready: a cold driver compiles its own shaders first. */
export const BOOT_LIMIT_MS = 30_000
/** Compilation of one kernel and the upload of its arrays. */
export const PREPARE_LIMIT_MS = 60_000
/** A launch that states no limit: no kernel may hold a device for good. */
export const LAUNCH_LIMIT_MS = 600_000
/** An abort waits so long for the launch to end by itself: a warm process is worth keeping. */
export const ABORT_GRACE_MS = 50
/** After SIGKILL: a process that hangs in its driver is waited for no longer than this. */
export const KILL_WAIT_MS = 2000
/** Deaths of a process in a row, each before it was ready, until it is taken for one that cannot start. */
export const START_ATTEMPTS = 3
/** A process that could not start is not tried again for so long: no storm of processes. */
export const BROKEN_MS = 15_000
/** An idle process is kept so long: starting one and compiling again takes up to seconds. */
export const IDLE_MS = 120_000
/** Resident memory that a process has taken since its first launch beyond what it keeps on purpose: then the next one gets a fresh process. */
export const RECYCLE_BYTES = 768 * MiB

/** Data segment of a process that computes on the CPU, beyond the arrays it keeps: Node, V8, frames and copies of the output. */
export const CPU_OVERHEAD_BYTES = 1024 * MiB
/** JavaScript heap: only source texts and syntax trees live there. */
export const HEAP_BYTES = 512 * MiB

/** Characters of an error's message. */
export const MAX_MESSAGE_CHARS = 4096
/** Characters of a device's name or class. */
export const MAX_NAME_CHARS = 256
/** Adapters listed. */
export const MAX_ADAPTERS = 64

/** The whole probe: start, device, known answers, score. */
export const PROBE_LIMIT_MS = 20_000
/** Time to find out how fast a device computes. */
export const SCORE_MS = 400

/** Elements of the first launch of a kernel: enough that a rate can be seen, little enough for a slow kernel. */
export const FIRST_LAUNCH_ELEMENTS = 4096
/** A launch is at most so many times larger than the largest before: the first ones may have been the cheap ones. */
export const LAUNCH_GROWTH = 16
/** Launches are made to last so long: their cost does not show, and a chunk that is aborted ends soon. */
export const LAUNCH_TARGET_MS = 500
/** A launch that fails is tried again with so much of it, until one item has failed so often alone with what was before. */
export const LAUNCH_TRIES = 3
/** The first launches of a kernel: when so many fail in a row, it does not run here. So it is when so many items fail one after another. */
export const FIRST_TRIES = 5
export const MAX_BARREN = 4
export const RETRY_SHARE = 1 / 16
/** An aborted chunk lets its launch end for so long before its process is killed. */
export const ABORT_WAIT_MS = 1000
/** A kernel call (ctx.gpu.run) whose process died under it is tried so often: another's kernel may have ended it. */
export const CALL_TRIES = 2
/** Kernels whose specification and rate are remembered. */
export const MAX_KNOWN_KERNELS = 64

/** WebGPU promises 65 535 workgroups along an axis; gpu.js gives one 8 rows, or 1 plane. */
export const MAX_LAUNCH_ROWS = 65_535 * 8
export const MAX_LAUNCH_PLANES = 65_535

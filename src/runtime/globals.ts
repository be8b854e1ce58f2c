/** Names that a worker has without an import: those of the language and of Node 20, less what a task must not build on. */
const NAMES = `
undefined NaN Infinity globalThis eval isFinite isNaN parseFloat parseInt decodeURI decodeURIComponent encodeURI
encodeURIComponent escape unescape Object Function Boolean Symbol Error AggregateError EvalError RangeError ReferenceError
SyntaxError TypeError URIError Number BigInt Math Date String RegExp Array Int8Array Uint8Array Uint8ClampedArray Int16Array
Uint16Array Int32Array Uint32Array BigInt64Array BigUint64Array Float32Array Float64Array Map Set WeakMap WeakSet WeakRef
FinalizationRegistry ArrayBuffer SharedArrayBuffer DataView Atomics JSON Promise Reflect Proxy Intl WebAssembly Iterator
process Buffer console global setTimeout clearTimeout setInterval clearInterval setImmediate clearImmediate queueMicrotask
structuredClone performance fetch crypto URL URLSearchParams TextEncoder TextDecoder AbortController AbortSignal Event
EventTarget MessageChannel MessagePort MessageEvent BroadcastChannel Blob File FormData Headers Request Response DOMException
atob btoa ReadableStream ReadableStreamDefaultReader ReadableStreamBYOBReader WritableStream WritableStreamDefaultWriter
TransformStream ByteLengthQueuingStrategy CountQueuingStrategy TextEncoderStream TextDecoderStream CompressionStream
DecompressionStream PerformanceEntry PerformanceObserver WebSocket CustomEvent navigator Crypto CryptoKey SubtleCrypto
`
export const GLOBAL_NAMES: ReadonlySet<string> = new Set(NAMES.trim().split(/\s+/))

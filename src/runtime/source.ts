/** What a job, or a map in a composition, runs over. */

/** Items, at once or as they come. A string is not meant, though it is iterable. */
export type Items<I> = Iterable<I> | AsyncIterable<I>

/**
 * What a job runs over:
 * - `{ range: [a, b] }`: the whole numbers a ≤ n < b; they cost nothing to ship, whatever their number;
 * - `{ items }`, or an (async) iterable itself: any values that a structured clone can carry;
 * - `{ lines }`: the lines of a text file (a path or file URL) or of a byte stream, or strings of your own, one item each.
 */
export type JobSource<I = unknown> =
  | { readonly range: readonly [from: number, to: number] }
  | { readonly items: Items<I> }
  | { readonly lines: string | URL | Items<string | Uint8Array> }
  | Items<I>

import { setTimeout as timeout } from 'node:timers/promises'

/** Waits `ms`, or until `signal` aborts; never rejects. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await timeout(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
}

import type { JobInfo } from '../../src/node/types.ts'
import { formatBytes, formatCount, formatDuration, formatSi, plural, printable } from './format.ts'
import { labelsText } from './labels.ts'
import { NAME_CHARS } from './limits.ts'

type Options = JobInfo['options']

/** A job's options in words; 'the defaults' when it has none. */
export function optionsText({ options }: Pick<JobInfo, 'options'>): string {
  const parts = [...workerParts(options), ...controlParts(options)]
  return parts.length === 0 ? 'the defaults' : parts.join(', ')
}

function workerParts(options: Options): string[] {
  return [
    options.args === undefined ? [] : [`args of ${formatBytes(options.args.length / 2)}`],
    options.chunkSize === undefined ? [] : [`chunk size ${formatCount(options.chunkSize)}`],
    options.timeLimitMs === undefined ? [] : [`time limit ${time(options.timeLimitMs)}`],
    options.softTimeLimitMs === undefined
      ? []
      : [`soft time limit ${time(options.softTimeLimitMs)}`],
    options.memoryBytes === undefined ? [] : [`memory ${formatBytes(options.memoryBytes)}`],
    options.retries === undefined ? [] : [`retries ${options.retries}`],
    options.backoff === undefined ? [] : [backoffText(options.backoff)],
    options.maxItemsPerWorker === undefined
      ? []
      : [`a new worker every ${formatCount(options.maxItemsPerWorker)} items`],
    options.replicas === undefined ? [] : [`results on ${plural(options.replicas, 'peer')}`],
    options.speculate === false ? ['no speculation'] : [],
  ].flat()
}

function controlParts(options: Options): string[] {
  const { priority, ratePer1000s, maxFailures, maxFailuresPpm, jobTimeLimitMs } = options
  const { requires, controllers, key } = options
  return [
    priority === undefined ? [] : [`priority ${priority}`],
    ratePer1000s === undefined ? [] : [`at most ${formatSi(ratePer1000s / 1000)} items/s`],
    jobTimeLimitMs === undefined ? [] : [`ends after ${time(jobTimeLimitMs)}`],
    maxFailures === undefined ? [] : [`ends at more than ${formatCount(maxFailures)} failed`],
    maxFailuresPpm === undefined ? [] : [`ends at more than ${maxFailuresPpm / 10_000} % failed`],
    requires === undefined ? [] : [`requires ${requiresText(requires)}`],
    controllers === undefined
      ? []
      : [`controlled by ${controllers.map((id) => id.slice(0, 8)).join(', ')}`],
    key === undefined ? [] : [`key ${printable(key, NAME_CHARS)}`],
  ].flat()
}

function backoffText(backoff: NonNullable<Options['backoff']>): string {
  const { delayMs, factorPercent, maxMs, jitterPercent } = backoff
  const growth = factorPercent === 100 ? '' : ` × ${factorPercent / 100}`
  return `backoff ${time(delayMs)}${growth} up to ${time(maxMs)} less ${jitterPercent} % at random`
}

function requiresText(requires: NonNullable<Options['requires']>): string {
  const { cores, memoryBytes, gpu, labels = {} } = requires
  return [
    cores === undefined ? [] : [`${cores} cores`],
    memoryBytes === undefined ? [] : [`${formatBytes(memoryBytes)} memory`],
    gpu === true ? ['a GPU'] : [],
    Object.keys(labels).length === 0 ? [] : [printable(labelsText(labels), 200)],
  ]
    .flat()
    .join(' and ')
}

function time(ms: number): string {
  return formatDuration(ms / 1000)
}

/** Every waiting time of the upkeep of results, input, jobs and disk, ms. Tests hand in shorter ones. */
export interface UpkeepTimes {
  /** From the end of a lease to the first look at what that peer kept: a short outage must not start a move. */
  readonly copyDelayMs: number
  /** The next holder in rank acts so much later, in case the one before it does not have the blob in truth. */
  readonly copyRankMs: number
  /** From a peer's coming to a look whether results lack a copy that it could hold. */
  readonly joinDelayMs: number
  /** A look at all results without a reason: what was missed otherwise. */
  readonly lookEveryMs: number
  /** A result none of whose keepers lives for so long, and that nobody else has, is lost: its items run again. */
  readonly lostAfterMs: number
  /** The next peer in rank declares it lost so much later. */
  readonly lostRankMs: number
  /** A leaving peer spends at most so long on handing on results that only it holds. */
  readonly handOnMs: number
  /** A job that runs for so long gets copies of its input. */
  readonly custodyAfterMs: number
  readonly custodyEveryMs: number
  /** With no holder of a piece for so long, and the author's lease over, the items fail. */
  readonly inputLostAfterMs: number
  /** The same for a peer that sees nobody, or less than half of the job's peers: it may be the one that is cut off. */
  readonly inputLostAloneMs: number
  /** Ages of finished jobs are counted, and jobs collected, so often. */
  readonly retentionEveryMs: number
  /** Unreferenced blobs are looked for so often. */
  readonly sweepEveryMs: number
  /** A blob is swept when nothing named it in two sweeps in a row and it is older than this. */
  readonly sweepAgeMs: number
  /** The same while the disk is short. */
  readonly sweepAgeShortMs: number
  readonly diskEveryMs: number
}

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

export const DEFAULT_TIMES: UpkeepTimes = {
  copyDelayMs: 3 * SECOND,
  copyRankMs: 10 * SECOND,
  joinDelayMs: 10 * SECOND,
  lookEveryMs: 30 * MINUTE,
  lostAfterMs: 60 * SECOND,
  lostRankMs: 5 * SECOND,
  handOnMs: 60 * SECOND,
  custodyAfterMs: 1.5 * SECOND,
  custodyEveryMs: 3 * SECOND,
  inputLostAfterMs: 60 * SECOND,
  inputLostAloneMs: 10 * MINUTE,
  retentionEveryMs: MINUTE,
  sweepEveryMs: HOUR,
  sweepAgeMs: 6 * HOUR,
  sweepAgeShortMs: 15 * MINUTE,
  diskEveryMs: 5 * SECOND,
}

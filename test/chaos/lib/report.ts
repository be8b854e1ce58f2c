import type { ChaosReport } from './chaos.ts'
import { describeFault } from './schedule.ts'

/** A few lines on a run; of one that failed, all that is needed to look into it and to replay it. */
export function describeReport(report: ChaosReport): string {
  const { seed, network, items, seconds, faults, tally, problems, folder, info } = report
  const { killed, stopped, cut, copied } = tally.twice
  const lines = [
    `seed ${seed}: ${problems.length === 0 ? 'ok' : 'FAILED'} (${network}), ${items} items in ${seconds.toFixed(1)} s, ${faults.length} faults; ` +
      `run twice: ${killed} of killed, ${stopped} of stopped, ${cut} of cut-off peers, ${copied} copies, ${tally.unexplained.length} unexplained` +
      (info === undefined ? '' : `; ${info.log.entries} entries, ${info.log.reclaims} reclaims`),
  ]
  if (problems.length > 0) {
    lines.push(...faults.map((fault) => `  ${describeFault(fault)}`))
    lines.push(...problems.map((problem) => `  PROBLEM ${problem}`))
    lines.push(`  logs and records: ${folder}`)
    lines.push(`  replay: npm run chaos -- ${report.replay}`)
  }
  return lines.join('\n')
}

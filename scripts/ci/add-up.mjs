// Adds up what .ci/run left in a folder: `checks` (a line each, `ok` or `fail` first), and per vitest run NAME.json and
// NAME.status. Prints what failed, then the closing line; exits 1 unless something passed and nothing failed.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const dir = process.argv[2]
let passed = 0
let failed = 0

const checks = join(dir, 'checks')
const lines = existsSync(checks) ? readFileSync(checks, 'utf8').split('\n') : []
for (const line of lines.filter((text) => text !== '')) {
  if (line.startsWith('ok ')) passed++
  else {
    failed++
    console.log(`failed: ${line.replace(/^fail\s+/, '')}`)
  }
}

for (const file of readdirSync(dir).filter((name) => name.endsWith('.status'))) {
  const name = file.slice(0, -'.status'.length)
  const status = Number(readFileSync(join(dir, file), 'utf8'))
  let report
  try {
    report = JSON.parse(readFileSync(join(dir, `${name}.json`), 'utf8'))
  } catch {
    failed++
    console.log(`failed: ${name} left no report (exit ${status})`)
    continue
  }
  // A test file that could not be loaded has no tests to count, yet must not pass unseen.
  const unloaded = report.testResults.filter(
    (suite) =>
      suite.status === 'failed' && !suite.assertionResults.some((t) => t.status === 'failed'),
  )
  const failures = report.numFailedTests + unloaded.length
  passed += report.numPassedTests
  failed += failures
  for (const suite of report.testResults) {
    for (const test of suite.assertionResults) {
      if (test.status === 'failed') console.log(`failed: ${name}: ${test.fullName}`)
    }
  }
  for (const suite of unloaded) console.log(`failed: ${name}: ${suite.name} (not loaded)`)
  // vitest also fails for errors outside any test, such as an unhandled rejection.
  if (status !== 0 && failures === 0) {
    failed++
    console.log(`failed: ${name} exited ${status}`)
  }
  console.log(`${name}: ${report.numPassedTests} passed, ${failures} failed`)
}

console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 && passed > 0 ? 0 : 1

import { defineConfig } from 'vitest/config'

/** Set by .ci/run: a second, machine-readable report, so that it can add up what passed. */
const report = process.env.MESH_TEST_REPORT

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/setup.ts'],
    // Real processes on a busy machine: CI gives each test a second chance, a developer's run does not.
    retry: process.env.CI === undefined ? 0 : 1,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    pool: 'forks',
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
  },
})

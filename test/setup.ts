import * as fc from 'fast-check'

// A developer's run draws new examples each time; CI judges a change by the same ones.
if (process.env.CI !== undefined) fc.configureGlobal({ seed: 1 })

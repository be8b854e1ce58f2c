/** What the mutations follow: the time, so that each run looks elsewhere; always the same in CI. */
export const SEED = Number(
  process.env.MESH_FUZZ_SEED ?? (process.env.CI === undefined ? Date.now() % 1_000_000_000 : 1),
)

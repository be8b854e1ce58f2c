/** The shortest decimal that reads back as the same f32: 0.1, not 0.10000000149011612. Of a number that is none: as it is rounded to one. */
export function shortestF32(value: number): string {
  const f32 = Math.fround(value)
  if (Object.is(f32, -0)) return '-0'
  if (!Number.isFinite(f32) || (Number.isInteger(f32) && Math.abs(f32) < 2 ** 24)) {
    return String(f32)
  }
  // 9 digits tell any f32 from its neighbours (IEEE 754), 6 are the most that all of them keep.
  for (let digits = 6; digits < 9; digits++) {
    const text = f32.toPrecision(digits)
    if (Math.fround(Number(text)) === f32) return String(Number(text))
  }
  return String(Number(f32.toPrecision(9)))
}

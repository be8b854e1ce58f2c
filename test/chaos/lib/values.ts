/** What test/fixtures/tasks/chaos-work.ts gives for an item; computed here again, without the work. */
export function mixOf(index: number): number {
  let x = Math.imul(index ^ 0x9e3779b9, 0x85ebca6b)
  for (let round = 0; round < 16; round += 1) {
    x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d)
    x = Math.imul(x ^ (x >>> 12), 0x297a2d39)
  }
  return (x ^ (x >>> 15)) >>> 0
}

/** CPU of an item, in means of the job's items. */
export function costOf(index: number): number {
  return mixOf(index) % 8 === 0 ? 5 : 3 / 7
}

/** What is wrong with the values of a job, in a few words. */
export function wrongValues(
  values: readonly (number | Uint8Array)[],
  items: number,
  valueBytes: number,
): string[] {
  const problems: string[] = []
  if (values.length !== items) problems.push(`${values.length} values of ${items}`)
  const wrong: number[] = []
  for (let item = 0; item < items; item += 1) {
    if (!isRight(values[item], mixOf(item), valueBytes)) wrong.push(item)
  }
  if (wrong.length > 0) problems.push(`${wrong.length} wrong values: items ${wrong.slice(0, 10)}`)
  return problems
}

function isRight(value: number | Uint8Array | undefined, right: number, bytes: number): boolean {
  if (bytes === 0) return value === right
  return (
    value instanceof Uint8Array &&
    value.length === bytes &&
    value.every((byte) => byte === (right & 255))
  )
}

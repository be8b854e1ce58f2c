const BLOCKS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/** A bar of `width` columns, filled to `share` (0..1) in eighths of a column. */
export function bar(share: number, width: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * width * 8)
  const full = Math.floor(eighths / 8)
  return ('█'.repeat(full) + BLOCKS[eighths % 8]!).padEnd(width)
}

/** 1234567 as `1 234 567`. */
export function grouped(n: number): string {
  return String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ' ')
}

/** Rewrites a block of lines in place on a terminal; elsewhere prints `plain` at most once in two seconds. */
export class LiveBlock {
  readonly #out: NodeJS.WriteStream
  #height = 0
  #printedAt = Number.NEGATIVE_INFINITY

  constructor(out: NodeJS.WriteStream) {
    this.#out = out
  }

  draw(lines: readonly string[], plain: string): void {
    if (!this.#out.isTTY) {
      if (performance.now() - this.#printedAt < 2_000) return
      this.#printedAt = performance.now()
      this.#out.write(`${plain}\n`)
      return
    }
    const up = this.#height > 0 ? `\x1b[${this.#height}A` : ''
    this.#out.write(`${up}${lines.map((line) => `\x1b[2K${line}\n`).join('')}`)
    this.#height = lines.length
  }

  /** The last state stays on the screen, and what is printed next goes below it. */
  end(lines: readonly string[]): void {
    if (this.#out.isTTY) this.draw(lines, '')
    else this.#out.write(`${lines.join('\n')}\n`)
    this.#height = 0
  }
}

// Runs `npm run demo`'s program in a pseudo-terminal (util-linux `script`), and makes docs/images/demo.svg of what it really
// printed: an animation of its screen, ending on the last one. Also copies the picture that it painted.
//
//   npm run build && node scripts/record-demo.mjs

import { spawn } from 'node:child_process'
import { copyFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const IMAGES = join(ROOT, 'docs', 'images')
/** A new frame at most this often: smooth enough, and the file stays small. */
const FRAME_MS = 300
const HOLD_LAST_MS = 8_000
const COLUMNS = 92
const LINE_PX = 18
const CHAR_PX = 8.4
const ESCAPE = '\x1b'
/** An escape sequence, a new line, or text. */
const TOKEN = new RegExp(`${ESCAPE}\\[[0-9;?]*[A-Za-z]|\\r|\\n|[^${ESCAPE}\\r\\n]+`, 'g')

/** The little of a terminal that the demo uses: text, new lines, cursor up, erase line. */
class Screen {
  lines = ['']
  row = 0
  column = 0

  write(text) {
    for (const [token] of text.matchAll(TOKEN)) this.#take(token)
  }

  #take(token) {
    if (token === '\r') this.column = 0
    else if (token === '\n') {
      this.row++
      this.lines[this.row] ??= ''
    } else if (token.endsWith('A'))
      this.row = Math.max(0, this.row - Number(token.slice(2, -1) || 1))
    else if (token.endsWith('K')) this.lines[this.row] = ''
    else if (!token.startsWith(ESCAPE)) {
      const line = this.lines[this.row].padEnd(this.column)
      this.lines[this.row] =
        line.slice(0, this.column) + token + line.slice(this.column + token.length)
      this.column += token.length
    }
  }
}

function record() {
  return new Promise((resolve, reject) => {
    const child = spawn(
      'script',
      ['-qfec', `node ${join(ROOT, 'dist/examples/demo.js')}`, '/dev/null'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    const screen = new Screen()
    const frames = []
    const startedAt = performance.now()
    child.stdout.setEncoding('utf8')
    child.stdout.on('data', (text) => {
      screen.write(text)
      const at = performance.now() - startedAt
      const last = frames.at(-1)
      const frame = { at, lines: [...screen.lines] }
      if (last === undefined || at - last.at >= FRAME_MS) frames.push(frame)
      else last.lines = frame.lines
    })
    child.on('error', reject)
    child.on('close', (code) =>
      code === 0
        ? resolve(frames)
        : reject(new Error(`the demo exited with ${code}\n${screen.lines.join('\n')}`)),
    )
  })
}

const xml = (text) => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`)

/** Bars in one colour, numbers and text in another: what a reader looks for stands out. */
function lineOf(text, row) {
  const spans = [...text.matchAll(/[█▏▎▍▌▋▊▉]+|[^█▏▎▍▌▋▊▉]+/g)].map(([part]) =>
    /^[█▏▎▍▌▋▊▉]/.test(part) ? `<tspan class="b">${part}</tspan>` : xml(part),
  )
  const kind = row === 0 || /^(What happened|\d\. )/.test(text) ? ' class="h"' : ''
  return `<text y="${(row + 1) * LINE_PX}"${kind}>${spans.join('')}</text>`
}

/** Each line of the screen is drawn once for as long as it stays the same, and shown for that time. */
function toSvg(frames) {
  const rows = frames.at(-1).lines.length
  const end = frames.at(-1).at + HOLD_LAST_MS
  const parts = []
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < frames.length; ) {
      const text = frames[i].lines[row] ?? ''
      let until = i + 1
      while (until < frames.length && (frames[until].lines[row] ?? '') === text) until++
      if (text.trim() !== '')
        parts.push(shown(lineOf(text, row), frames[i].at, frames[until]?.at, end))
      i = until
    }
  }
  const width = Math.round(COLUMNS * CHAR_PX) + 40
  const height = rows * LINE_PX + 48
  return `<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="Recording of npm run demo">
<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#c9d1d9;white-space:pre}.h{fill:#fff;font-weight:600}.b{fill:#3fb950}</style>
<rect width="100%" height="100%" rx="10" fill="#0d1117"/>
<g transform="translate(20 16)">
${parts.join('\n')}
</g>
</svg>
`
}

/** An element that is there from `from` to `until` (to the end, without) of a loop of `end` ms. Viewers without animation show the last screen. */
function shown(element, from, until, end) {
  if (until === undefined && from === 0) return element
  const stop = until === undefined ? 1 : until / end
  const start = from / end
  const keys = start === 0 ? [0, stop] : until === undefined ? [0, start] : [0, start, stop]
  const values = start === 0 ? [1, 0] : until === undefined ? [0, 1] : [0, 1, 0]
  const opacity = until === undefined ? '' : ' opacity="0"'
  const times = keys.map((key) => key.toFixed(4)).join(';')
  return `<g${opacity}>${element}<animate attributeName="opacity" calcMode="discrete" dur="${Math.round(end)}ms" repeatCount="indefinite" keyTimes="${times}" values="${values.join(';')}"/></g>`
}

const frames = await record()
const text = frames.at(-1).lines
const picture = text
  .map((line) => /\S+raytrace\.png/.exec(line)?.[0])
  .find((path) => path !== undefined)
if (picture === undefined) throw new Error('the demo named no picture')
copyFileSync(picture, join(IMAGES, 'raytrace.png'))
rmSync(dirname(picture), { recursive: true, force: true })
// The folder's random name would make each recording differ for nothing.
for (const frame of frames) {
  frame.lines = frame.lines.map((line) => line.replace(/meshwork-demo-\w+/, 'meshwork-demo'))
}
while (frames.at(-1).lines.at(-1)?.trim() === '') frames.at(-1).lines.pop()
writeFileSync(join(IMAGES, 'demo.svg'), toSvg(frames))
console.log(frames.at(-1).lines.join('\n'))

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readLines, readNdjson } from '../../../src/client/format.ts'

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = []
  for await (const element of source) out.push(element)
  return out
}

const bytes = (text: string) => [Buffer.from(text)]

describe('lines of text', () => {
  it('drops line ends of both kinds and a byte order mark, and keeps blank lines', async () => {
    const text = '\uFEFFone\r\ntwo\n\nfour'
    expect(await all(readLines(bytes(text)))).toEqual(['one', 'two', '', 'four'])
  })

  it('gives no line for a line end at the end of the text, and none for no text', async () => {
    expect(await all(readLines(bytes('a\nb\n')))).toEqual(['a', 'b'])
    expect(await all(readLines([]))).toEqual([])
    expect(await all(readLines(bytes('\n')))).toEqual([''])
  })

  it('keeps a byte order mark that does not stand at the start', async () => {
    expect(await all(readLines(bytes('a\n\uFEFFb')))).toEqual(['a', '\uFEFFb'])
  })

  it('gives the same lines however the text is cut', async () => {
    const line = fc.string({ unit: 'grapheme' }).map((s) => s.replace(/[\r\n\uFEFF]/g, ''))
    const cuts = fc.array(fc.nat(200))
    await fc.assert(
      fc.asyncProperty(fc.array(line), cuts, async (lines, cuts) => {
        const text = Buffer.from(lines.map((l) => `${l}\n`).join(''))
        const places = [
          0,
          ...cuts.filter((c) => c <= text.length).sort((a, b) => a - b),
          text.length,
        ]
        const chunks = places.slice(1).map((to, i) => text.subarray(places[i], to))
        expect(await all(readLines(chunks))).toEqual(lines)
      }),
    )
  })

  it('names the line that is not UTF-8', async () => {
    const text = Buffer.concat([Buffer.from('fine\n'), Buffer.from([0xff, 0xfe, 0x0a])])
    await expect(all(readLines([text], { name: 'words.txt' }))).rejects.toMatchObject({
      code: 'ERR_MESH_INPUT_INVALID',
      message: 'line 2 of words.txt is not UTF-8 text',
      details: { line: 2, name: 'words.txt' },
    })
  })

  it('refuses a line that never ends before it fills the memory', async () => {
    let taken = 0
    function* endless() {
      yield Buffer.from('short\n')
      for (; taken < 1000; taken++) yield Buffer.alloc(64, 0x61)
    }
    await expect(all(readLines(endless(), { maxLineBytes: 1000 }))).rejects.toMatchObject({
      code: 'ERR_MESH_INPUT_INVALID',
      details: { line: 2 },
    })
    expect(taken).toBeLessThan(20)
  })

  it('refuses a line that is too long within one chunk', async () => {
    const text = `ok\n${'ä'.repeat(600)}\nok\n`
    await expect(all(readLines(bytes(text), { maxLineBytes: 1000 }))).rejects.toThrow(
      /^line 2 has more/,
    )
    expect(await all(readLines(bytes(text), { maxLineBytes: 1200 }))).toHaveLength(3)
  })

  it('ends its source when the reader leaves', async () => {
    let ended = false
    async function* source() {
      try {
        for (;;) yield Buffer.from('a\nb\nc\n')
      } finally {
        ended = true
      }
    }
    for await (const line of readLines(source())) if (line === 'b') break
    expect(ended).toBe(true)
  })
})

describe('NDJSON', () => {
  it('parses a value a line, and skips blank ones', async () => {
    const text = '\uFEFF{"a":1}\r\n\r\n  \n[2]\nnull\n"x"\n7'
    expect(await all(readNdjson(bytes(text)))).toEqual([{ a: 1 }, [2], null, 'x', 7])
  })

  it('gives the values before a bad line, then names the line', async () => {
    const seen: unknown[] = []
    const read = async () => {
      for await (const value of readNdjson(bytes('1\n\n2\n{oops\n3\n'), { name: 'in.ndjson' })) {
        seen.push(value)
      }
    }
    await expect(read()).rejects.toMatchObject({
      code: 'ERR_MESH_INPUT_INVALID',
      message: expect.stringMatching(/^line 4 of in\.ndjson is not JSON \(.*\{oops/),
      details: { line: 4 },
    })
    expect(seen).toEqual([1, 2])
  })

  it('counts lines over chunks', async () => {
    const chunks = ['1\n2', '\n3\n', 'x\n'].map((text) => Buffer.from(text))
    await expect(all(readNdjson(chunks))).rejects.toMatchObject({ details: { line: 4 } })
  })
})

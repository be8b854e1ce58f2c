/** Where a run's elements come from: numbers of a range, or segments decoded as they are needed. */
import type { ChunkInput, ElementPart } from '../types.ts'
import { Failed, InputLost } from './failed.ts'
import { InputFile, openInputFile, TAKEN, type Window } from './input-files.ts'

export interface Items {
  /** The element's value; Failed where it failed. An object is the caller's own. @throws InputLost */
  get(element: number): unknown
}

export function openItems(input: ChunkInput): Items {
  switch (input.kind) {
    case 'range':
      return new Numbers(input.start)
    case 'inline': {
      const bytes = Buffer.from(input.segment, 'hex')
      return new Parts([{ first: 0, count: Number.POSITIVE_INFINITY, skip: 0, bytes }])
    }
    case 'pieces':
      return new Parts(input.pieces.map((piece) => ({ ...piece, skip: 0 })))
    case 'parts':
      return new Parts(input.parts)
  }
}

class Numbers implements Items {
  private readonly start: number

  constructor(start: number) {
    this.start = start
  }

  get(element: number): number {
    return this.start + element
  }
}

class Parts implements Items {
  private readonly parts: readonly ElementPart[]
  /** Elements lo..hi-1 are in the window, from `shift` on. */
  private lo = 0
  private hi = 0
  private shift = 0
  private window: Window = { lo: 0, hi: 0, values: [] }
  private file: InputFile | undefined
  /** The object that was given out last: a retry gets the same one. */
  private last = -1
  private lastValue: unknown
  /** Of parts that come with their bytes. */
  private readonly opened = new Map<ElementPart, InputFile>()

  constructor(parts: readonly ElementPart[]) {
    this.parts = parts
  }

  get(element: number): unknown {
    if (element < this.lo || element >= this.hi) this.seek(element)
    const value = this.window.values[element - this.shift]
    if (typeof value === 'object' && value !== null) return this.take(element, value)
    return value === TAKEN ? this.takeAgain(element) : value
  }

  private take(element: number, value: object): unknown {
    if (value instanceof Failed) return value
    this.window.values[element - this.shift] = TAKEN
    this.last = element
    this.lastValue = value
    return value
  }

  private takeAgain(element: number): unknown {
    if (element === this.last) return this.lastValue
    this.file!.refresh(this.window)
    return this.get(element)
  }

  private seek(element: number): void {
    const part = this.find(element)
    if (part === undefined) throw new InputLost(`no part of the input holds item ${element}`)
    let window: Window
    try {
      this.file = this.open(part)
      window = this.file.windowAt(element - part.first + part.skip)
    } catch (error) {
      throw new InputLost(error instanceof Error ? error.message : String(error))
    }
    this.window = window
    const first = part.first - part.skip
    this.lo = Math.max(part.first, first + window.lo)
    this.hi = Math.min(part.first + part.count, first + window.hi)
    this.shift = first + window.lo
    if (element < this.lo || element >= this.hi) {
      const held = Math.max(0, this.file.count - part.skip)
      throw new InputLost(`${nameOf(part)} holds ${held} items and not ${part.count}`)
    }
  }

  private find(element: number): ElementPart | undefined {
    const { parts } = this
    let low = 0
    let high = parts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (parts[middle]!.first <= element) low = middle
      else high = middle - 1
    }
    const part = parts[low]
    if (part === undefined || element < part.first) return undefined
    return element < part.first + part.count ? part : undefined
  }

  private open(part: ElementPart): InputFile {
    let file: InputFile | undefined
    if (part.bytes === undefined) file = openInputFile(part.path ?? '')
    else {
      file = this.opened.get(part)
      if (file === undefined) this.opened.set(part, (file = new InputFile(part.bytes)))
    }
    const short = Number.isFinite(part.count) && file.count < part.skip + part.count
    if (short) {
      const held = Math.max(0, file.count - part.skip)
      throw new Error(`${nameOf(part)} holds ${held} items and not ${part.count}`)
    }
    return file
  }
}

function nameOf({ path }: ElementPart): string {
  return path === undefined ? 'a part of the input' : `the piece ${path}`
}

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { App } from '../../../cli/lib/context.ts'
import { EXIT } from '../../../cli/lib/exit-codes.ts'
import { processContext } from '../../../cli/lib/process-context.ts'
import { buildProgram } from '../../../cli/lib/program.ts'

const page = readFileSync(new URL('../../../docs/cli.md', import.meta.url), 'utf8')
const app: App = { context: processContext(), finish: () => {} }
const program = buildProgram(app)
const shared = flagsIn(section('Options of every command'))

describe('docs/cli.md says what the command takes', () => {
  test('the same sub-commands', () => {
    const documented = [...page.matchAll(/^## mesh (\w+)/gm)].map((match) => match[1])
    expect(documented.sort()).toEqual(program.commands.map((command) => command.name()).sort())
  })

  test.each(program.commands.map((command) => [command.name(), command] as const))(
    'mesh %s: the same options',
    (name, command) => {
      const documented = [...flagsIn(section(`mesh ${name}`)), ...shared]
      // Commander adds --help by itself.
      const taken = [...command.options.map((option) => option.flags), '-h, --help']
      expect(documented.sort()).toEqual(taken.sort())
    },
  )

  test('the same exit codes', () => {
    const documented = [...section('Exit codes').matchAll(/^\|\s*(\d+)\s*\|/gm)].map((m) =>
      Number(m[1]),
    )
    expect(documented).toEqual(Object.values(EXIT))
  })
})

/** The text under a `##` heading that begins so. */
function section(title: string): string {
  const found = page.split(/^## /m).find((part) => new RegExp(`^${title}\\b`).test(part))
  if (found === undefined) throw new Error(`docs/cli.md has no section "${title}"`)
  return found
}

/** '--out <file>' or '-q, --quiet' of each table row that begins with an option. */
function flagsIn(text: string): string[] {
  return [...text.matchAll(/^\|\s*(`-[^|]*`)\s*\|/gm)]
    .map((match) => match[1]!.replaceAll('`', ''))
    .filter((flags) => flags.includes('--'))
}

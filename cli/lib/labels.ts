import { InvalidArgumentError } from 'commander'

/** 'zone=eu' -> ['zone', 'eu']; 'fast' alone has no value. */
export function parseLabel(text: string, fail: (why: string) => Error): [string, string] {
  const at = text.indexOf('=')
  const [name, value] = at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
  if (name.trim() !== '') return [name.trim(), value.trim()]
  throw fail('has no name: write NAME=VALUE')
}

/** For commander: --label, which may be repeated. */
export function label(
  text: string,
  before: Readonly<Record<string, string>> | undefined,
): Record<string, string> {
  const [name, value] = parseLabel(
    text,
    () => new InvalidArgumentError(`must be a name and its value, as in zone=eu (got '${text}')`),
  )
  return { ...before, [name]: value }
}

/** 'zone=eu, fast' */
export function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => (value === '' ? name : `${name}=${value}`))
    .join(', ')
}

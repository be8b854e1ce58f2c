import { MeshError } from '../base/errors.ts'
import { MAX_OWN_LABELS } from './limits.ts'
import { OWN_LABELS } from './roster.ts'
import { MAX_LABEL_BYTES } from './wire/limits.ts'

/**
 * What a user says of a peer, as its adverts carry it.
 * @throws ERR_MESH_OPTION_INVALID
 */
export function checkLabels(
  labels: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  if (typeof labels !== 'object' || labels === null || Array.isArray(labels)) {
    throw wrong("labels are an object such as { zone: 'eu' }")
  }
  const entries = Object.entries(labels)
  if (entries.length > MAX_OWN_LABELS) {
    throw wrong(`there are ${entries.length} labels, and a peer may have ${MAX_OWN_LABELS}`)
  }
  for (const [name, value] of entries) {
    if (OWN_LABELS.includes(name)) {
      throw wrong(`a label cannot be called "${name}": peers say something else by it`)
    }
    const right =
      name !== '' &&
      typeof value === 'string' &&
      [name, value].every(
        (text) => text.isWellFormed() && Buffer.byteLength(text) <= MAX_LABEL_BYTES,
      )
    if (!right) {
      throw wrong(
        `the label "${name}" must have a name, a string as its value, and at most ${MAX_LABEL_BYTES} bytes of each`,
      )
    }
  }
  return { ...labels }
}

function wrong(message: string): MeshError {
  return new MeshError('ERR_MESH_OPTION_INVALID', message, { details: { option: 'labels' } })
}

/** Lower case, without i, l, o and u, which are taken for others (Crockford's alphabet). */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

/** Five bits a character; the last one is filled up with zeros. */
export function toBase32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let held = 0
  for (const byte of bytes) {
    held = (held << 8) | byte
    bits += 8
    for (; bits >= 5; bits -= 5) text += ALPHABET[(held >> (bits - 5)) & 31]
    held &= (1 << bits) - 1
  }
  return bits === 0 ? text : text + ALPHABET[(held << (5 - bits)) & 31]
}

/** Where the first character is that base 32 has not; -1 when all are right. */
export function wrongCharacter(text: string): number {
  return [...text].findIndex((character) => !ALPHABET.includes(character))
}

/** The bytes of a text without wrong characters; undefined when its end is not what toBase32 writes. */
export function fromBase32(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8))
  let at = 0
  let bits = 0
  let held = 0
  for (const character of text) {
    held = (held << 5) | ALPHABET.indexOf(character)
    bits += 5
    if (bits < 8) continue
    bits -= 8
    bytes[at++] = held >> bits
    held &= (1 << bits) - 1
  }
  return bits < 5 && held === 0 ? bytes : undefined
}

import { defineTask } from 'meshwork'

export interface WordStats {
  /** The word's letters in alphabetical order: the same for all its anagrams. */
  readonly letters: string
  readonly vowels: number
  readonly palindrome: boolean
}

/** Item: one word in lower case. */
export default defineTask({
  name: 'wordstats',
  module: import.meta.url,
  run(word: string): WordStats {
    const sorted = [...word].sort()
    return {
      letters: sorted.join(''),
      vowels: sorted.filter((letter) => 'aeiou'.includes(letter)).length,
      palindrome: [...word].reverse().join('') === word,
    }
  },
})

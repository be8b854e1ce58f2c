// Statistics of some 275 000 English words: each word is an item, and the small results are combined here.

import { createRequire } from 'node:module'
import { joinFromArguments } from '../lib/join.ts'
import wordstats from './task.ts'

const words = createRequire(import.meta.url)('an-array-of-english-words') as string[]

const mesh = await joinFromArguments()
try {
  const job = await mesh.submit(wordstats, { items: words })

  const letterCounts = new Map<string, number>()
  const classes = new Map<string, string[]>()
  let palindromes = 0
  let vowels = 0
  for await (const { index, value } of job) {
    const word = words[index]!
    for (const letter of value.letters) {
      letterCounts.set(letter, (letterCounts.get(letter) ?? 0) + 1)
    }
    classes.set(value.letters, [...(classes.get(value.letters) ?? []), word])
    if (value.palindrome) palindromes++
    vowels += value.vowels
  }

  const anagrams = [...classes.values()].filter((members) => members.length > 1)
  const largest = Math.max(...anagrams.map((members) => members.length))
  const longest = words.reduce((most, word) => Math.max(most, word.length), 0)
  const report = {
    words: words.length,
    letters: Object.fromEntries([...letterCounts].sort((a, b) => b[1] - a[1])),
    vowels,
    palindromes,
    longest: words.filter((word) => word.length === longest),
    anagramClasses: anagrams.length,
    largestClasses: anagrams
      .filter((members) => members.length === largest)
      .map((members) => members.sort())
      .sort(),
  }
  console.log(JSON.stringify(report, null, 2))
} finally {
  await mesh.stop()
}

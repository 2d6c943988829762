import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { readingKinds } from './reading-kinds.ts'

const page = readFileSync(new URL('../../../docs/api.md', import.meta.url), 'utf8')

test('docs/api.md says of every reading which GET it is, what it takes, and how often it is read', () => {
  const lines = [...page.matchAll(/^\| `([\w-]+)` \| `(\/api\/[^`]+)` \| (.*?) ?\| (\d+) (s|min) \|$/gm)]
  const told = lines.map(([, name, path, takes, every, unit]) => ({
    name,
    path,
    takes: takes?.replaceAll('`', '').split(', ').filter(Boolean),
    every: Number(every) * (unit === 's' ? 1000 : 60_000),
  }))
  const kinds = Object.entries(readingKinds).map(([name, { path, query, span, every }]) => ({
    ...{ name, path, every },
    takes: [...query, ...(span ? ['hours'] : [])],
  }))
  expect(told).toEqual(kinds.sort((a, b) => (a.name < b.name ? -1 : 1)))
})

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const KB = 1000

/** What a browser loads, compressed, in bytes: for the first page, for each part that is loaded later, for all styles. */
const budgets = { first: 60 * KB, later: 25 * KB, styles: 10 * KB }

export interface Weight {
  readonly what: string
  readonly bytes: number
  readonly budget: number
}

/** Of the built dashboard. */
export async function dashboardWeights(folder: string): Promise<readonly Weight[]> {
  const index = await readFile(join(folder, 'index.html'), 'utf8')
  const names = (await readdir(join(folder, 'assets'))).sort()
  const read = (name: string) => readFile(join(folder, 'assets', name))
  const sizes = new Map<string, number>()
  for (const name of names) sizes.set(name, compressed(await read(name)))
  const styles = Buffer.concat(await Promise.all(names.filter((name) => name.endsWith('.css')).map(read)))
  const sum = (some: readonly string[]) => some.reduce((bytes, name) => bytes + (sizes.get(name) ?? 0), 0)
  const scripts = names.filter((name) => name.endsWith('.js'))
  const first = scripts.filter((name) => index.includes(`/assets/${name}`))
  const later = scripts.filter((name) => !first.includes(name))
  return [
    { what: 'dashboard: first page', bytes: sum(first), budget: budgets.first },
    ...later.map((name) => ({ what: `dashboard: ${name}`, bytes: sum([name]), budget: budgets.later })),
    { what: 'dashboard: all styles', bytes: compressed(styles), budget: budgets.styles },
  ]
}

const compressed = (content: Uint8Array): number => gzipSync(content, { level: 9 }).byteLength

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Row } from './fault.ts'

/** The fault table of docs/failover.md: made from a run, between two markers. */

const DOCUMENT = fileURLToPath(new URL('../../docs/failover.md', import.meta.url))
const BEGIN = '<!-- faults:begin -->'
const END = '<!-- faults:end -->'

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')
const figure = (value: number | null): string => (value === null ? '' : value.toLocaleString('en-US'))

const MARKS: Readonly<Partial<Record<Row['outcome'], string>>> = {
  failed: '**Not as expected**: ',
  pending: '*Not yet*: ',
  skipped: '*Not played*: ',
}
const seenOf = ({ outcome, seen }: Row): string => `${MARKS[outcome] ?? ''}${seen}`

export function tableOf(rows: readonly Row[]): string {
  const lines = rows.map(
    (row) =>
      `| ${row.id} | ${cell(row.fault)}: ${cell(row.inject)} | ${cell(row.expected)} | ${cell(seenOf(row))} | ${figure(row.time_ms)} | ${figure(row.writes_acked)} | ${figure(row.writes_lost)} |`,
  )
  return [
    '| # | fault | expected | seen | ms | acked | lost |',
    '|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n')
}

/** The document with the table in it. @throws Error when it has no markers */
export function withTable(document: string, table: string): string {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error(`the document needs ${BEGIN} and ${END}`)
  return `${document.slice(0, begin + BEGIN.length)}\n\n${table}\n\n${document.slice(end)}`
}

export const writeTable = (rows: readonly Row[]): void =>
  writeFileSync(DOCUMENT, withTable(readFileSync(DOCUMENT, 'utf8'), tableOf(rows)))

import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { catalog } from './catalog.ts'
import type { Row } from './fault.ts'
import { startField } from './field.ts'
import { playFault } from './play.ts'
import { tableOf, writeTable } from './table.ts'

/** `pnpm faults`: plays the faults one after the other and writes what was seen into docs/failover.md. */

const USAGE = `Usage: pnpm faults [--only 1,7] [--quick] [--json] [--logs <directory>]

  --only <numbers>  these faults, and nothing is written
  --quick           without the slow ones, and nothing is written
  --logs <directory>  the logs of every process are put there at the end
  --json            rows as one object, in the last line
`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      quick: { type: 'boolean', default: false },
      logs: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const only = values.only?.split(',').map(Number)
  const unknown = only?.filter((id) => !catalog.some((fault) => fault.id === id)) ?? []
  if (unknown.length > 0) {
    process.stderr.write(`there is no fault ${unknown.join(', ')}\n${USAGE}`)
    return 2
  }
  const chosen = catalog
    .filter(({ id, slow }) => (only?.includes(id) ?? true) && !(values.quick && slow))
    .sort((a, b) => Number(a.last ?? false) - Number(b.last ?? false))
  const rows: Row[] = []
  const field = await startField()
  try {
    for (const fault of chosen) {
      const began = performance.now()
      const row = await playFault(field, fault)
      rows.push(row)
      const took = ((performance.now() - began) / 1000).toFixed(1)
      process.stderr.write(
        `${row.outcome.padEnd(9)} ${row.id} ${row.fault} (${took} s)\n          ${row.seen}\n`,
      )
    }
  } finally {
    if (values.logs !== undefined)
      cpSync(join(field.fleet.rig.directory, 'logs'), values.logs, { recursive: true })
    await field.close()
  }
  rows.sort((a, b) => a.id - b.id)
  if (only === undefined && !values.quick) writeTable(rows)
  else process.stdout.write(`${tableOf(rows)}\n`)
  if (values.json) process.stdout.write(`${JSON.stringify({ schema: 'understudy.faults/v1', rows })}\n`)
  return rows.some(({ outcome }) => outcome === 'failed') ? 1 : 0
}

const code = await main()
// Not by itself: a socket that was reset while it was written to can keep Node busy for ever at its end.
process.stdout.write('', () => process.exit(code))

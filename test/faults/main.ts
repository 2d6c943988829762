import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { messageOf } from '../../shared/src/core/app-error.ts'
import { catalog } from './catalog.ts'
import type { Fault, Row } from './fault.ts'
import { type Field, startField } from './field.ts'
import { limits, within } from './limits.ts'
import { playFault, skippedRow } from './play.ts'
import { tableOf, writeTable } from './table.ts'

/** `pnpm faults`: plays the faults one after the other and writes what was seen into docs/failover.md. */

const USAGE = `Usage: pnpm faults [--only 1,7] [--quick] [--json] [--logs <directory>]

  --only <numbers>  these faults, and nothing is written
  --quick           without the slow ones, and nothing is written
  --logs <directory>  the logs of every process are put there at the end
  --json            rows as one object, in the last line

A fault that does not end is given up and fails. What was not as expected is played once more. Ctrl-C ends the run
after what was played: the rest is shown as not played. A second one ends it at once.
`
const INTERRUPTED = 'the run was interrupted'

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
  const chosen = catalog.filter(({ id, slow }) => (only?.includes(id) ?? true) && !(values.quick && slow))
  const [last, others] = [chosen.filter((fault) => fault.last), chosen.filter((fault) => !fault.last)]
  const interrupted = new AbortController()
  process.on('SIGINT', () => {
    if (interrupted.signal.aborted) process.exit(130)
    interrupted.abort()
    process.stderr.write('interrupted: writing down what was seen\n')
  })
  const field = await startField()
  const first = await playAll(field, others, interrupted.signal)
  const rows = [
    ...(await playFailedAgain(field, others, first, interrupted.signal)),
    ...(await playAll(field, last, interrupted.signal)),
  ].sort((a, b) => a.id - b.id)
  if (only === undefined && !values.quick) writeTable(rows)
  else process.stdout.write(`${tableOf(rows)}\n`)
  if (values.logs !== undefined)
    cpSync(join(field.fleet.rig.directory, 'logs'), values.logs, { recursive: true })
  // What does not end by itself ends with this process.
  await within('the field is closed', limits.close, field.close()).catch((error: unknown) =>
    process.stderr.write(`${messageOf(error)}\n`),
  )
  if (values.json) process.stdout.write(`${JSON.stringify({ schema: 'understudy.faults/v1', rows })}\n`)
  if (interrupted.signal.aborted) return 130
  return rows.some(({ outcome }) => outcome === 'failed') ? 1 : 0
}

/** One after the other. What the interruption leaves out has a row, too. */
async function playAll(field: Field, faults: readonly Fault[], interrupted: AbortSignal): Promise<Row[]> {
  const rows: Row[] = []
  const stop = new Promise<undefined>((resolve) =>
    interrupted.addEventListener('abort', () => resolve(undefined)),
  )
  for (const fault of faults) {
    const began = performance.now()
    const played = interrupted.aborted ? undefined : await Promise.race([playFault(field, fault), stop])
    const row = played ?? skippedRow(fault, INTERRUPTED)
    rows.push(row)
    const took = ((performance.now() - began) / 1000).toFixed(1)
    process.stderr.write(
      `${row.outcome.padEnd(9)} ${row.id} ${row.fault} (${took} s)\n          ${row.seen}\n`,
    )
  }
  return rows
}

/**
 * A machine that stands still for a second makes an incident of its own, whatever is being played: what was not as
 * expected is played once more, and its row tells of both.
 */
async function playFailedAgain(
  field: Field,
  faults: readonly Fault[],
  rows: readonly Row[],
  interrupted: AbortSignal,
): Promise<Row[]> {
  const failed = faults.filter((_, index) => rows[index]?.outcome === 'failed')
  if (failed.length > 0) process.stderr.write(`once more: ${failed.map(({ id }) => id).join(', ')}\n`)
  const again = await playAll(field, failed, interrupted)
  return rows.map((row) => {
    const second = row.outcome === 'failed' ? again.shift() : undefined
    return second === undefined || second.outcome === 'skipped'
      ? row
      : { ...second, seen: `in a second try: ${second.seen} (in the first: ${row.seen})` }
  })
}

const code = await main()
// Not by itself: a socket that was reset while it was written to can keep Node busy for ever at its end.
process.stdout.write('', () => process.exit(code))

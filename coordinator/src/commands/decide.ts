import { AppError } from '@understudy/shared/core/app-error'
import { flagOf } from '@understudy/shared/core/options'
import {
  type CycleView,
  cycleViewSchema,
  type DecisionView,
  decisionListSchema,
} from '@understudy/shared/protocol/decision-log'
import type { Invocation } from '../command-line.ts'
import { type ApiClient, openApiClient } from './api-client.ts'
import { onInterrupt } from './interrupt.ts'

type Print = (text: string) => number

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Told how it goes: standard output is for what came of it. */
  readonly say: Print
}

const PAGE = 100

/**
 * Lets the coordinator that runs decide for the whole fleet now, and shows what it decided for each agent and why. What is done
 * about a decision is up to the level of its agent, as with every cycle.
 */
export async function decide(
  { own, json, settings, configFile }: Invocation,
  print: Print,
  { env, say }: Surroundings = { env: process.env, say: toStandardError },
): Promise<number> {
  const [setting] = configFile === undefined ? Object.keys(settings).map(flagOf) : ['--config']
  if (setting !== undefined)
    throw new AppError(
      'input_invalid',
      `decide has no option ${setting}: it asks the coordinator that runs`,
      {
        hint: 'Say where that is: --url and --token-file.',
      },
    )
  const client = openApiClient(own, env)
  using interrupt = onInterrupt()
  say(`${client.url} decides for the whole fleet\n`)
  const cycle = await client.call('POST', '/api/v1/ml/decisions/run', cycleViewSchema, interrupt.signal)
  const seconds = (cycle.duration_ms / 1000).toFixed(2)
  say(`${cycle.agents} agents in ${seconds} s, of which the models took ${Math.round(cycle.model_ms)} ms\n`)
  const decisions = await decisionsOf(client, cycle.cycle_id, interrupt.signal)
  if (json) return print(`${JSON.stringify({ schema: 'understudy.decide/v1', cycle, decisions })}\n`)
  return print(report(cycle, decisions))
}

async function decisionsOf(client: ApiClient, cycleId: string, signal: AbortSignal): Promise<DecisionView[]> {
  const all: DecisionView[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`
    const path = `/api/v1/ml/decisions?cycle_id=${cycleId}&limit=${PAGE}${page}`
    const { items, next } = await client.call('GET', path, decisionListSchema, signal)
    all.push(...items)
    cursor = next
  }
  return all.sort((a, b) => compare(a.agent_id ?? '', b.agent_id ?? ''))
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

function report(cycle: CycleView, decisions: readonly DecisionView[]): string {
  const table = [
    ['AGENT', 'POOL', 'DECISION', 'TO', 'GAIN/H', 'RESULT', 'REASON'],
    ...decisions.map((one) => [
      one.agent_id ?? '-',
      one.pool_id,
      one.decision,
      one.target_pool_id ?? '-',
      one.gain === null ? '-' : `$${one.gain.toFixed(4)}`,
      one.result?.status ?? '-',
      one.result ? `${one.reason}; ${one.result.reason}` : one.reason,
    ]),
  ]
  const skipped = cycle.skipped.map(({ agent_id: id, reason }) => `skipped ${id}: ${reason}\n`).join('')
  const counts = Object.entries(cycle.decisions).map(([name, count]) => `${count} ${name}`)
  const sum = `${counts.join(', ') || 'nothing was decided'}; ${cycle.acted} begun, with a budget of ${cycle.budget}`
  return `${decisions.length === 0 ? '' : aligned(table)}${skipped}${sum} (cycle ${cycle.cycle_id})\n`
}

/** Columns side by side; the last one may be as long as it likes. */
function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
  return rows.map((row) => `${line(row)}\n`).join('')
}

function toStandardError(text: string): number {
  process.stderr.write(text)
  return 0
}

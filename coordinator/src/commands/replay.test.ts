import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { instant } from '@understudy/shared/core/time'
import type { PipelineInput } from '@understudy/shared/pipeline/context'
import { evaluate } from '@understudy/shared/pipeline/pipeline'
import { defaultPolicy } from '@understudy/shared/pipeline/policy'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseInvocation } from '../command-line.ts'
import { createDecisionStore } from '../pipeline/pipeline.ts'
import { openDatabase } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { replay } from './replay.ts'

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'understudy-replay-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const input: PipelineInput = {
  ...{ now: instant(1_767_614_400_000), mode: 'SINGLE_LINEAR', current: null, offers: [], model: null },
  requirement: {
    ...{ vcpu: 2, memGib: 4, arch: 'x86_64', gpu: 0, count: 1 },
    ...{ familiesAllowed: null, familiesDenied: [], zonesAllowed: null },
  },
  ...{ modelFailure: null, signals: [], handledSignals: [], rebalanceProbability: null, interruptions: [] },
  ...{ referenceUsd: 0.1, budget: { movesLeft: 1, heldBy: null }, policy: defaultPolicy('SINGLE_LINEAR') },
}

async function run(...words: string[]): Promise<{ exit: number; out: string }> {
  const invocation = parseInvocation(['replay', ...words, '--database', join(directory, 'test.db')])
  if (typeof invocation === 'string') throw new Error(invocation)
  let out = ''
  const exit = await replay(invocation, (text) => {
    out += text
    return 0
  })
  return { exit, out }
}

test('a stored decision is made again, and one that came out otherwise fails', async () => {
  const database = await openDatabase({ store: 'sqlite', path: join(directory, 'test.db') })
  await migrate(database.db)
  const store = createDecisionStore(database.db)
  const made = { instanceId: null, poolId: 'c5.large@us-east-1a', durationMs: 1 }
  const outcome = evaluate(input)
  const good = await store.add(input, outcome, made)
  const other = { ...outcome, decision: { ...outcome.decision, code: 'PLACE' as const } }
  const bad = await store.add(input, other, made)
  await database.close()

  expect(await run(good)).toMatchObject({ exit: 0, out: expect.stringContaining('STAY (NO_CANDIDATE)') })
  expect(await run(bad)).toMatchObject({
    exit: 1,
    out: expect.stringContaining('not the same: it was STAY (PLACE)'),
  })
  const { out } = await run(good, '--json')
  expect(JSON.parse(out)).toMatchObject({ schema: 'understudy.replay/v1', id: good, same: true })
  await expect(run('nothing')).rejects.toThrow('there is no decision nothing')
  await expect(run()).rejects.toThrow('name one decision')
})

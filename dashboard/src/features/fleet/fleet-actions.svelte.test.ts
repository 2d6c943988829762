import type { FailoverResponse } from '@understudy/shared/protocol/failover'
import type { PromotionPlan } from '@understudy/shared/protocol/replicas'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { beforeEach, describe, expect, it } from 'vitest'
import type { PromoteWish } from '../../api/calls.ts'
import type { Answer, Failure } from '../../api/http.ts'
import { sampleAgent, sampleIncident, samplePlan, sampleReplica } from '../../testkit/samples.ts'
import type { PromoteFlow } from '../promote/promote-flow.svelte.ts'
import { StatusLine } from '../shell/status-line.svelte.ts'
import { FleetActions } from './fleet-actions.svelte.ts'

const failure = (kind: Failure['kind']): Failure & { ok: false } => ({
  ok: false,
  kind,
  status: kind === 'refused' ? 409 : undefined,
  title: 'Out of date',
  detail: 'the epoch has moved',
  hint: undefined,
  code: 'stale_epoch',
  facts: {},
})
const moved = {
  ok: true,
  status: 200,
  body: { incident: sampleIncident() } as FailoverResponse,
} as const

let time: ReturnType<typeof createVirtualTime>
let plan: PromotionPlan
let answer: Promise<Answer<FailoverResponse>>
let wishes: PromoteWish[]
let line: StatusLine
let shown: number
let actions: FleetActions

beforeEach(() => {
  time = createVirtualTime()
  plan = samplePlan()
  answer = Promise.resolve(moved)
  wishes = []
  line = new StatusLine(time.clock)
  shown = 0
  const none = async () => failure('refused')
  actions = new FleetActions({
    calls: {
      createReplica: none,
      deleteReplica: none,
      interrupt: none,
      plan: async () => ({ ok: true, status: 200, body: plan }),
      promote(wish) {
        wishes.push(wish)
        return answer
      },
    },
    line,
    clock: time.clock,
    newKey: () => `key-${wishes.length}`,
    blocked: () => undefined,
    showRecorder: () => {
      shown += 1
    },
  })
})

async function opened(): Promise<PromoteFlow> {
  actions.askPromote(sampleAgent(), sampleReplica())
  if (actions.dialog?.kind !== 'promote') throw new Error('no dialog')
  await actions.dialog.flow.open()
  return actions.dialog.flow
}

describe('a promotion', () => {
  it('is asked for with the epoch that was read', async () => {
    const flow = await opened()
    await flow.confirm()
    expect(wishes).toMatchObject([{ expectedEpoch: 1, keepOld: true }])
    expect(actions.dialog).toBeUndefined()
    expect(shown).toBe(1)
    expect(line.message?.text).toBe('web-1 moved to us-east-1d in 220 ms.')
  })

  it('waits for somebody to read facts that have changed', async () => {
    const flow = await opened()
    plan = samplePlan({ epoch: 2 })
    await time.advance(2000)
    expect(flow.changes).toEqual(['The epoch is 2 now; it was 1.'])
    await flow.confirm()
    expect(wishes).toEqual([])
    flow.accept()
    await flow.confirm()
    expect(wishes).toMatchObject([{ expectedEpoch: 2 }])
  })

  it('that was refused stays in the dialog, with the new facts', async () => {
    const flow = await opened()
    answer = Promise.resolve(failure('refused'))
    plan = samplePlan({ epoch: 2 })
    await flow.confirm()
    expect(flow).toMatchObject({ phase: 'deciding', failure: { code: 'stale_epoch' } })
    expect(flow.blocked).toContain('read them first')
    expect(line.message).toBeUndefined()
  })

  it('without an answer is unknown, and asked for again as the same wish', async () => {
    const flow = await opened()
    answer = Promise.resolve(failure('unknown'))
    await flow.confirm()
    expect(flow.phase).toBe('unknown')
    await flow.confirm()
    expect(new Set(wishes.map(({ key }) => key)).size).toBe(1)
    expect(wishes).toHaveLength(2)
  })

  it.each([
    ['refused', 'api-1: the replica could not be promoted.'],
    ['unknown', 'api-1: the replica may or may not have been promoted.'],
  ] as const)('that was %s after the dialog was closed is told in the status line', async (kind, text) => {
    const flow = await opened()
    let give: (answer: Answer<FailoverResponse>) => void = () => {}
    answer = new Promise((resolve) => {
      give = resolve
    })
    const confirmed = flow.confirm()
    actions.watch()
    flow.close()
    give(failure(kind))
    await confirmed
    expect(line.message?.text).toBe(text)
  })

  it('that is not possible cannot be confirmed', async () => {
    plan = samplePlan({ possible: false, reason: 'the replica is behind' })
    const flow = await opened()
    expect(flow.blocked).toBe('the replica is behind')
  })
})

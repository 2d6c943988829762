import type { DecisionFrame, DecisionView } from '@understudy/shared/protocol/decision-log'
import { describe, expect, it } from 'vitest'
import type { DecisionPage } from '../../api/decision-calls.ts'
import type { Answer } from '../../api/http.ts'
import { refused } from '../../testkit/answers.ts'
import { sampleDecision } from '../../testkit/samples.ts'
import { DecisionLog } from './decision-log.svelte.ts'

const decision = (n: number, changes: Partial<DecisionView> = {}) =>
  sampleDecision({ id: `d${n}`, at: new Date(1_000_000 + n * 1000).toISOString(), ...changes })
const frame = (...items: DecisionView[]): DecisionFrame => ({ type: 'decisions', at: '', items })
const snapshot = (...items: DecisionView[]): DecisionFrame =>
  ({ ...frame(...items), type: 'snapshot' }) as DecisionFrame
const page = (next: string | null, ...items: DecisionView[]): Answer<DecisionPage> => ({
  ok: true,
  status: 200,
  body: { items, next },
})

function logOf(answers: Answer<DecisionPage>[] = [], filter = {}) {
  const cursors: (string | undefined)[] = []
  const list = async (_: unknown, cursor: string | undefined) => {
    cursors.push(cursor)
    return answers.shift() ?? refused('no more')
  }
  return { log: new DecisionLog({ list }, filter), cursors }
}
const ids = (log: DecisionLog) => log.shown.map(({ id }) => id)

describe('decisions', () => {
  it('of the past and new ones are one list, each once, the latest first', async () => {
    const { log, cursors } = logOf([page('c1', decision(3), decision(2)), page(null, decision(1))])
    await log.readMore()
    log.receive(frame(decision(3), decision(4)))
    await log.readMore()
    await log.readMore()
    expect(ids(log)).toEqual(['d4', 'd3', 'd2', 'd1'])
    expect([cursors, log.hasMore]).toEqual([[undefined, 'c1'], false])
  })

  it('wait while somebody reads, and are counted', async () => {
    const { log } = logOf([page('c1', decision(2)), page(null, decision(1))])
    await log.readMore()
    log.hold()
    log.receive(frame(decision(3), decision(4)))
    expect([ids(log), log.waiting]).toEqual([['d2'], 2])
    await log.readMore()
    expect([ids(log), log.waiting]).toEqual([['d2', 'd1'], 2])
    log.release()
    expect([ids(log), log.waiting]).toEqual([['d4', 'd3', 'd2', 'd1'], 0])
  })

  it('are told what came of them, also while they wait', async () => {
    const { log } = logOf([page(null, decision(1))])
    await log.readMore()
    log.hold()
    const result = { status: 'done', reason: 'moved' } as const
    log.receive({ type: 'result', at: '', decision_id: 'd1', agent_id: 'a', result })
    expect(log.shown[0]?.result).toEqual(result)
  })

  it('are those that were asked for', () => {
    const { log } = logOf([], { agent: 'a', decision: 'SWITCH' })
    log.receive({
      type: 'snapshot',
      at: '',
      items: [
        decision(1, { agent_id: 'a', decision: 'SWITCH' }),
        decision(2, { agent_id: 'b', decision: 'SWITCH' }),
        decision(3, { agent_id: 'a', decision: 'STAY' }),
      ],
    })
    expect(ids(log)).toEqual(['d1'])
  })

  it('begin anew after a lost connection, so that none that was made meanwhile is left out', async () => {
    const { log, cursors } = logOf([
      page('c1', decision(2), decision(1)),
      page('c2', decision(9), decision(8), decision(7)),
      page(null, decision(6), decision(2)),
    ])
    await log.readMore()
    log.receive(snapshot(decision(2)))
    log.receive(snapshot(decision(9), decision(8)))
    await expect.poll(() => ids(log)).toEqual(['d9', 'd8', 'd7'])
    await log.readMore()
    expect([ids(log), log.hasMore]).toEqual([['d9', 'd8', 'd7', 'd6', 'd2'], false])
    expect(cursors).toEqual([undefined, undefined, 'c2'])
  })

  it('of before a lost connection are not followed by what was asked for then', async () => {
    const { log, cursors } = logOf([
      page('c1', decision(2)),
      page(null, decision(1)),
      page('c2', decision(9)),
    ])
    await log.readMore()
    log.receive(snapshot(decision(2)))
    const late = log.readMore()
    log.receive(snapshot(decision(9)))
    await late
    expect([ids(log), log.hasMore, cursors]).toEqual([['d9'], true, [undefined, 'c1', undefined]])
  })

  it('wait also after a lost connection, until the list goes on', async () => {
    const { log } = logOf([page('c1', decision(2)), page('c2', decision(9), decision(8))])
    await log.readMore()
    log.receive(snapshot(decision(2)))
    log.hold()
    log.receive(snapshot(decision(9)))
    expect([ids(log), log.waiting]).toEqual([['d2'], 1])
    log.release()
    expect([ids(log), log.waiting]).toEqual([['d9'], 0])
    await expect.poll(() => ids(log)).toEqual(['d9', 'd8'])
  })

  it('stay when the past cannot be read', async () => {
    const { log } = logOf([])
    log.receive(frame(decision(1)))
    await log.readMore()
    expect([ids(log), log.failure?.detail, log.fresh]).toEqual([['d1'], 'no more', true])
  })

  it('are no more than five thousand', () => {
    const { log } = logOf()
    log.receive(frame(...Array.from({ length: 5100 }, (_, i) => decision(i))))
    expect([log.shown.length, ids(log)[0]]).toEqual([5000, 'd5099'])
  })
})

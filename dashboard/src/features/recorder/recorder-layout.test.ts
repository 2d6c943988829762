import { describe, expect, it } from 'vitest'
import { runningIncident, sampleIncident, sampleStep } from '../../testkit/samples.ts'
import { endOf, layOut } from './recorder-layout.ts'

const names = (incident = sampleIncident(), nowT?: number) =>
  layOut(incident, nowT).rows.map(({ name }) => name)

describe('the recorder of a move that has ended', () => {
  it('has one row per step, in the order in which they began', () => {
    expect(names().slice(0, 4)).toEqual([
      'Notice received',
      'Hand-over ordered',
      'Workload frozen',
      'State drained',
    ])
    expect(names()).toHaveLength(12)
  })

  it('ends when traffic reached the new primary', () => {
    expect(endOf(sampleIncident())).toBeCloseTo(224.1)
    expect(layOut(sampleIncident(), undefined)).toMatchObject({ end: 100, waiting: undefined })
  })

  it('shows for how long nobody served, as the coordinator measured it', () =>
    expect(layOut(sampleIncident(), undefined).band).toMatchObject({ fromT: 9.1, millis: 215, open: false }))

  it('begins before the detection when the primary was lost before it', () => {
    const lost = sampleIncident({ no_primary_from_t_ms: -3000, no_primary_ms: 3500, failover_time_ms: 480 })
    const { band, ticks } = layOut(lost, undefined)
    expect(band).toMatchObject({ left: 0, width: 100 })
    expect(ticks.map(({ t }) => t)).toContain(0)
  })

  it('a step after the end does not stretch the scale', () => {
    const late = sampleStep({ seq: 13, step: 'workload-killed', t_ms: 90_000 })
    const { rows, end } = layOut(sampleIncident({ steps: [...sampleIncident().steps, late] }), undefined)
    expect(rows.at(-1)?.bar).toEqual({ kind: 'later' })
    expect(end).toBe(100)
  })

  it('shows how long it waited for a replica', () => {
    const steps = [
      sampleStep({ seq: 1, step: 'no-replica-ready', t_ms: 1 }),
      sampleStep({ seq: 2, step: 'hand-over-ordered', t_ms: 4001 }),
    ]
    expect(layOut(sampleIncident({ steps }), undefined).rows[0]?.wait?.millis).toBe(4000)
  })
})

describe('the recorder of a move that runs', () => {
  const upTo = (count: number) => runningIncident({ steps: runningIncident().steps.slice(0, count) })

  it('says what it waits for', () => {
    expect(layOut(upTo(2), 50).waiting).toMatchObject({ name: 'the old primary to freeze', sinceT: 4.7 })
    expect(layOut(upTo(0), 50).waiting?.name).toBe('the first step')
  })

  it('counts the time without a primary from the freeze, whatever stops later', () => {
    expect(layOut(upTo(2), 50).band).toBeUndefined()
    expect(layOut(upTo(8), 100).band).toMatchObject({ fromT: 9.1, millis: 90.9, open: true })
  })

  it('knows only from when on a lost primary was missed', () => {
    const lost = runningIncident({ steps: [sampleStep({ step: 'primary-lost', t_ms: 0 })] })
    expect(layOut(lost, 100).band).toMatchObject({ fromT: 0, millis: 100, longer: true })
  })

  it('a workload that was thawed serves again', () => {
    const thawed = [...upTo(3).steps, sampleStep({ seq: 4, step: 'workload-thawed', t_ms: 40 })]
    expect(layOut(runningIncident({ steps: thawed }), 100).band).toBeUndefined()
  })

  it('keeps its scale while the bars grow, until there is no room', () => {
    expect(layOut(upTo(3), 100).ticks).toEqual(layOut(upTo(3), 900).ticks)
    expect(layOut(upTo(3), 1000).ticks).not.toEqual(layOut(upTo(3), 900).ticks)
  })
})

it('a step that a newer coordinator has is shown by its own name', () => {
  const steps = [sampleStep({ step: 'moon-aligned', t_ms: 0 })]
  expect(names(sampleIncident({ steps }))).toEqual(['Moon aligned'])
})

import type { IncidentStep, IncidentView } from '@understudy/shared/protocol/incidents'
import type { Tone } from '../../ui/tone.ts'
import { wordsOf } from './step-words.ts'

/** A part of the time axis, in percent of it. */
export interface Span {
  readonly left: number
  readonly width: number
}

export type Bar =
  | ({ readonly kind: 'bar'; readonly goesOn: boolean } & Span)
  /** A moment: nobody measured how long it took, or it took no time. */
  | { readonly kind: 'tick'; readonly left: number }
  /** After the end of the move, such as the old primary's own end; it must not stretch the scale. */
  | { readonly kind: 'later' }

export interface Row {
  readonly step: IncidentStep
  readonly name: string
  readonly tone: Tone
  readonly bar: Bar
  /** Time in which nothing but waiting was done, from this step to the next. */
  readonly wait: (Span & { readonly millis: number }) | undefined
}

export interface Band extends Span {
  readonly fromT: number
  readonly millis: number
  /** It still grows. */
  readonly open: boolean
  /** It began before it was noticed; by how much is known at the end. */
  readonly longer: boolean
}

export interface Layout {
  readonly rows: readonly Row[]
  readonly ticks: readonly { readonly t: number; readonly left: number }[]
  /** When nobody served; undefined where nobody knows, or where somebody always did. */
  readonly band: Band | undefined
  /** Where the move ended. */
  readonly end: number | undefined
  /** What a running move waits for. */
  readonly waiting: { readonly name: string; readonly sinceT: number; readonly span: Span } | undefined
}

/** The time axis of one incident in milliseconds after detection. `nowT` is given while it runs. */
export function layOut(incident: IncidentView, nowT: number | undefined): Layout {
  const { steps } = incident
  const running = nowT !== undefined
  const endT = running ? undefined : endOf(incident)
  const gap = gapOf(incident, nowT)
  const from = Math.min(0, gap?.fromT ?? 0, ...steps.map(({ t_ms }) => t_ms))
  const to = Math.max(from + 1, endT ?? roomFor(nowT ?? 0))
  const at = (t: number) => clamp(((t - from) / (to - from)) * 100)
  const span = (start: number, end: number): Span => ({ left: at(start), width: at(end) - at(start) })
  const last = steps.at(-1)
  const sinceT = last ? endOfStep(last) : 0
  return {
    rows: steps.map((step, index) => {
      const words = wordsOf(step.step)
      const next = steps[index + 1]?.t_ms ?? endT
      return {
        step,
        name: words.name,
        tone: step.ok ? words.tone : 'failed',
        bar: barOf(step, to, at),
        wait:
          words.waits && next !== undefined && next > step.t_ms
            ? { ...span(step.t_ms, next), millis: next - step.t_ms }
            : undefined,
      }
    }),
    ticks: ticksOf(from, to).map((t) => ({ t, left: at(t) })),
    band: gap && { ...gap, ...span(gap.fromT, gap.fromT + gap.millis) },
    end: endT === undefined ? undefined : at(endT),
    waiting: running
      ? {
          name: last ? wordsOf(last.step).waitingFor : 'the first step',
          sinceT,
          span: span(sinceT, Math.max(sinceT, nowT)),
        }
      : undefined,
  }
}

/** When the move was over: traffic reached the new primary, or nothing more was tried. */
export function endOf(incident: IncidentView): number {
  const { no_primary_from_t_ms: from, no_primary_ms: gap, failover_time_ms: took } = incident
  const ends = [took, from === null || gap === null ? null : from + gap].filter((end) => end !== null)
  if (ends.length > 0) return Math.max(...ends)
  if (incident.closed_at !== null) return Date.parse(incident.closed_at) - Date.parse(incident.detected_at)
  return Math.max(0, ...incident.steps.map(endOfStep))
}

const endOfStep = (step: IncidentStep): number => step.t_ms + (step.duration_ms ?? 0)

function barOf(step: IncidentStep, to: number, at: (t: number) => number): Bar {
  if (step.t_ms > to) return { kind: 'later' }
  const left = at(step.t_ms)
  if (!step.duration_ms) return { kind: 'tick', left }
  const end = endOfStep(step)
  return { kind: 'bar', left, width: at(end) - left, goesOn: end > to }
}

/**
 * From when until when nobody served. While the move runs that is known from the steps alone: the first frozen or
 * stopped workload since the last one that was thawed, or a primary that was lost.
 */
function gapOf(incident: IncidentView, nowT: number | undefined): Omit<Band, 'left' | 'width'> | undefined {
  const { no_primary_from_t_ms: from, no_primary_ms: gap, steps } = incident
  if (from !== null && gap !== null) return { fromT: from, millis: gap, open: false, longer: false }
  if (nowT === undefined) return undefined
  const thawed = steps.findLastIndex(({ step, ok }) => ok && step === 'workload-thawed')
  const quiet = steps.slice(thawed + 1).find(({ step, ok }) => ok && QUIET.has(step))
  if (!quiet) return undefined
  const millis = Math.max(0, nowT - quiet.t_ms)
  return { fromT: quiet.t_ms, millis, open: true, longer: quiet.step === 'primary-lost' }
}

const QUIET: ReadonlySet<string> = new Set([
  'workload-frozen',
  'workload-stopped',
  'primary-lost',
  'no-copy-at-hand',
])

/** The scale of a running move grows by leaps, so that the bars that are there stand still between them. */
function roomFor(nowT: number): number {
  const wanted = Math.max(1000, nowT * 1.1)
  const magnitude = 10 ** Math.floor(Math.log10(wanted))
  const step = [1, 2, 5, 10].find((factor) => factor * magnitude >= wanted) ?? 10
  return step * magnitude
}

/** Three to six round numbers, T+0 among them. */
function ticksOf(from: number, to: number): number[] {
  const rough = (to - from) / 5
  const magnitude = 10 ** Math.floor(Math.log10(rough))
  const step = ([1, 2, 5, 10].find((factor) => factor * magnitude >= rough) ?? 10) * magnitude
  const ticks: number[] = []
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) ticks.push(t === 0 ? 0 : t)
  return ticks
}

const clamp = (percent: number): number => Math.min(100, Math.max(0, percent))

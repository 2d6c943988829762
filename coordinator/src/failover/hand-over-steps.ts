import type { IncidentStepRow } from '../storage/database.ts'

/** How far an old primary had come with giving up its epoch, as the steps of the incident tell. */
export interface HandOverSteps {
  /** Its workload was frozen and has not gone on since. */
  readonly frozen: IncidentStepRow | undefined
  /** Another instance had confirmed the whole state. */
  readonly sealed: boolean
  /** It wrote on after that: the hand-over was called off. */
  readonly wroteOn: boolean
}

export function readHandOver(steps: readonly IncidentStepRow[], old: string): HandOverSteps {
  const own = steps.filter(({ reported_by }) => reported_by === old)
  const done = own.filter(({ ok }) => ok === 1)
  const thawedAt = Math.max(...own.filter(({ step }) => step === 'workload-thawed').map(({ t_ms }) => t_ms))
  const sealed = done.findLast(({ step }) => step === 'final-sync')
  return {
    frozen: done.find(({ step, t_ms }) => step === 'workload-frozen' && t_ms > thawedAt),
    sealed: sealed !== undefined,
    wroteOn: sealed !== undefined && sealed.t_ms < thawedAt,
  }
}

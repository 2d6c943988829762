import { benjaminiHochberg } from './benjamini-hochberg.ts'
import { comparePsi, type Reference, referenceCounts } from './psi.ts'

export type DriftLevel = 'ok' | 'warn' | 'alert'

/** A feature or the score in one window, counted in the bins of training. */
export interface Counted {
  readonly subject: string
  readonly reference: Reference
  readonly counts: readonly number[]
}

export interface SubjectDrift {
  readonly subject: string
  readonly level: DriftLevel
  readonly psi: number
  readonly pValue: number
  readonly warnFrom: number
  readonly alertFrom: number
}

/** Fewer independent rows say nothing. */
export const FEWEST_EFFECTIVE = 200
/** Of all that are called drifted at most this share is expected not to be. */
const FALSE_DISCOVERIES = 0.1

/** How far each subject is from training: by PSI, and beyond chance when all of them are looked at together. */
export function judgeWindow(subjects: readonly Counted[], effective: number): SubjectDrift[] {
  const results = subjects.map(({ reference, counts }) =>
    comparePsi(referenceCounts(reference), counts, effective),
  )
  const significant = benjaminiHochberg(
    results.map(({ pValue }) => pValue),
    FALSE_DISCOVERIES,
  )
  return results.map(({ psi, pValue, warnFrom, alertFrom }, i) => ({
    subject: subjects[i]?.subject ?? '',
    level: !significant[i] || psi < warnFrom ? 'ok' : psi < alertFrom ? 'warn' : 'alert',
    psi,
    pValue,
    warnFrom,
    alertFrom,
  }))
}

const levels: readonly DriftLevel[] = ['ok', 'warn', 'alert']

/** One window alone may be an odd day: what counts is the lower level of two in succession. */
export const ofBoth = (now: DriftLevel, before: DriftLevel | undefined): DriftLevel =>
  levels[Math.min(levels.indexOf(now), levels.indexOf(before ?? 'ok'))] ?? 'ok'

/** Shares of the rows of a window, 0 to 1. */
export interface DataQuality {
  /** Missing features beyond those that training had missing. */
  readonly missing: number
  /** Features outside of what training had seen. */
  readonly out_of_range: number
  /** Look-back without real prices. */
  readonly gap_filled: number
  /** Pools that had no prediction since their price was too old. */
  readonly stale: number
  /** Pools of families that training has not seen. */
  readonly unseen_family: number
}

/** From which share on it is said, and from which on it is an alert. An unseen family is no mistake of the data. */
const QUALITY: Readonly<Record<keyof DataQuality, readonly [warn: number, alert: number]>> = {
  missing: [0.1, 0.3],
  out_of_range: [0.01, 0.05],
  gap_filled: [0.2, 0.5],
  stale: [0.1, 0.5],
  unseen_family: [0.2, Number.POSITIVE_INFINITY],
}

export const qualityNames = Object.keys(QUALITY) as readonly (keyof DataQuality)[]

export function qualityLevel(name: keyof DataQuality, share: number): DriftLevel {
  const [warn, alert] = QUALITY[name]
  return share >= alert ? 'alert' : share >= warn ? 'warn' : 'ok'
}

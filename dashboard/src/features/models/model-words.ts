import type { ModelData, Readiness } from '@understudy/shared/protocol/model-data'
import type { ModelState, SessionStatus } from '@understudy/shared/protocol/models'
import { formatNumberOf } from '../../ui/format.ts'
import type { Mark } from '../../ui/tone.ts'

const states: Readonly<Record<ModelState, Mark>> = {
  RECEIVED: { tone: 'standby', shape: 'half', word: 'Received' },
  SCANNED: { tone: 'standby', shape: 'ring', word: 'Scanned' },
  QUALIFIED: { tone: 'standby', shape: 'diamond', word: 'Qualified' },
  SHADOW: { tone: 'standby', shape: 'ring', word: 'Shadow' },
  LAB: { tone: 'standby', shape: 'ring', word: 'Lab' },
  ACTIVE: { tone: 'healthy', shape: 'circle', word: 'Active' },
  RETIRED: { tone: 'unknown', shape: 'dash', word: 'Retired' },
  QUARANTINED: { tone: 'failed', shape: 'cross', word: 'Quarantined' },
}
export const modelMark = (state: ModelState): Mark => states[state]

const sessions: Readonly<Record<SessionStatus, Mark>> = {
  receiving: { tone: 'standby', shape: 'half', word: 'Receiving' },
  checking: { tone: 'standby', shape: 'ring', word: 'Being tried' },
  uploaded: { tone: 'standby', shape: 'diamond', word: 'Uploaded' },
  activated: { tone: 'healthy', shape: 'circle', word: 'Activated' },
  refused: { tone: 'failed', shape: 'cross', word: 'Refused' },
  failed: { tone: 'failed', shape: 'cross', word: 'Failed' },
}
export const sessionMark = (status: SessionStatus): Mark => sessions[status]

const readiness: Readonly<Record<Readiness, Mark>> = {
  READY: { tone: 'healthy', shape: 'circle', word: 'All prices there' },
  PARTIAL: { tone: 'at-risk', shape: 'triangle', word: 'All that can be had' },
  MISSING: { tone: 'at-risk', shape: 'triangle', word: 'Prices missing' },
  UNKNOWN: { tone: 'unknown', shape: 'dash', word: 'No pools known' },
}
export const readinessMark = (of: Readiness): Mark => readiness[of]

/** `trained until 2020-03-29, 2,428 days before today` */
export function trainedSentence({ trained_until: until, gap_days: days }: ModelData): string {
  if (days <= 0) return `trained until ${until}: up to today`
  return `trained until ${until}, ${formatNumberOf(days, 'day')} before today`
}

/** What is there of the prices since then, and what can never be. */
export function dataSentence({
  percent_covered: covered,
  pools,
  unfillable,
  readiness: of,
}: ModelData): string {
  if (of === 'UNKNOWN') return 'No pool is known for which there should be prices.'
  const parts = [
    `${covered.toFixed(covered >= 99.95 || covered === 0 ? 0 : 1)}% of the prices since then are there`,
    `${pools.current} of ${formatNumberOf(pools.required, 'pool')} have all of the last 7 days, which is what a prediction of today is made from`,
  ]
  if (unfillable)
    parts.push(
      `prices of ${formatNumberOf(unfillable.days, 'day')} are older than EC2 keeps and cannot be had any more`,
    )
  return `${parts.join('; ')}.`
}

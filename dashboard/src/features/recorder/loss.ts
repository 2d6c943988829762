import type { Loss } from '@understudy/shared/protocol/incidents'
import { formatTook } from '../../ui/format.ts'
import type { Tone } from '../../ui/tone.ts'

const TIMESTAMP = /\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d(?:\.\d+)?)Z/g

/** What may be missing. The coordinator's own sentence begins with its kind; this makes a whole sentence of it. */
export function lossSentence({ kind, sentence }: Loss): string {
  const rest = sentence.replace(/^(nothing|everything|unknown): /, '').replaceAll(TIMESTAMP, '$1 UTC')
  switch (kind) {
    case 'none':
      return `Nothing lost: ${rest}.`
    case 'bounded':
      return `Lost: ${rest}.`
    case 'everything':
      return `Everything lost: ${rest}.`
    case 'unknown':
      return `Loss unknown: ${rest}.`
  }
}

/** The same in two words, for a table. */
export function lossWord({ kind, at_most_ms: millis }: Loss): string {
  switch (kind) {
    case 'none':
      return 'nothing'
    case 'bounded':
      return millis === null ? 'some' : `at most ${formatTook(millis)}`
    case 'everything':
    case 'unknown':
      return kind
  }
}

const tones: Readonly<Record<Loss['kind'], Tone>> = {
  none: 'healthy',
  bounded: 'at-risk',
  everything: 'failed',
  unknown: 'at-risk',
}

export const lossTone = ({ kind }: Loss): Tone => tones[kind]

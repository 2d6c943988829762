import type { EngineList, SelectEngineResult } from '@understudy/shared/protocol/engines'
import type { Failure } from '../../api/http.ts'
import { asSentence, formatShare, NOTHING } from '../../ui/format.ts'
import type { Mark } from '../../ui/tone.ts'

type Engine = EngineList['items'][number]

/** Whether it counts for its decision. */
export const activeMark = ({ active }: Pick<Engine, 'active'>): Mark =>
  active
    ? { tone: 'healthy', shape: 'circle', word: 'Counts' }
    : { tone: 'unknown', shape: 'dash', word: 'Not selected' }

/** Whether it decides by itself. */
export const enabledMark = ({ enabled }: Pick<Engine, 'enabled'>): Mark =>
  enabled
    ? { tone: 'healthy', shape: 'circle', word: 'Decides by itself' }
    : { tone: 'standby', shape: 'ring', word: 'When it is asked' }

export const agreementWords = (rate: number | null): string =>
  rate === null ? `${NOTHING} nothing measures it` : `${formatShare(rate)} came to the same`

/** `ranking: "seed-v1", patience: null` */
export function configWords(config: Readonly<Record<string, unknown>>): string {
  const set = Object.entries(config).map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
  return set.length === 0 ? 'nothing set: as usual' : set.join(', ')
}

/** What is said once it counts. */
export const selectedSentence = ({ after }: SelectEngineResult, name: string): string =>
  `${name} decides from the next decision on, ${configWords(after.config)}.`

/** What can be set, by the JSON Schema of the configuration. */
export function settable(
  schema: Readonly<Record<string, unknown>>,
): readonly { readonly name: string; readonly description: string }[] {
  const properties = (schema.properties ?? {}) as Readonly<Record<string, { readonly description?: string }>>
  return Object.entries(properties).map(([name, { description }]) => ({
    name,
    description: description ?? name,
  }))
}

/** What an output says in words, where it does: `SWITCH (CHEAPER): it saves $0.0140 an hour.` */
export function outputSentence(output: unknown): string | undefined {
  if (typeof output !== 'object' || output === null) return undefined
  const { decision, code, reason } = output as Readonly<Record<string, unknown>>
  if (typeof decision !== 'string' || typeof reason !== 'string') return undefined
  return `${decision}${typeof code === 'string' ? ` (${code})` : ''}: ${asSentence(reason)}`
}

/** `/input/offers/0/spot_price` within `/input` → `offers[0].spot_price`; what is wrong as a whole → ''. */
export const placeOf = (pointer: string, within: string): string =>
  (pointer.startsWith(within) ? pointer.slice(within.length) : pointer)
    .split('/')
    .slice(1)
    .reduce((place, part) => {
      if (/^\d+$/.test(part)) return `${place}[${part}]`
      return place === '' ? part : `${place}.${part}`
    }, '')

/** What is wrong in one part of the body, by place; empty when the failure is about something else. */
export const wrongPlaces = (
  failure: Failure | undefined,
  within: string,
): readonly { readonly place: string; readonly message: string }[] =>
  (failure?.errors ?? [])
    .filter(({ pointer }) => pointer === within || pointer.startsWith(`${within}/`))
    .map(({ pointer, message }) => ({ place: placeOf(pointer, within), message }))

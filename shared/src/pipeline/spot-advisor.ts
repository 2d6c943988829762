import { filtered, type Stage } from './context.ts'

/** Interrupted more often than 20 % a month: band 4, the last of five. */
const USUAL_RATE = 0.2
const WORST_BAND = 4
/** Bands are 5 % wide. */
const WIDTH = 5

/** A band is too often interrupted when all of it is: it begins at the rate or above. */
const isTooOften = (band: number, rate: number): boolean => band * WIDTH + 1e-9 >= rate * 100

const rangeOf = (band: number): string =>
  band === WORST_BAND ? `over ${WORST_BAND * WIDTH} %` : `${band * WIDTH} to ${(band + 1) * WIDTH} %`

/** Drops the worst bands. A type that the Advisor does not know passes with a flag and counts as band 3. */
export const spotAdvisor: Stage = {
  name: 'spot_advisor',
  run(candidates, { input }) {
    const rate = input.policy.maxInterruptRate ?? USUAL_RATE
    const { kept, dropped } = filtered(candidates, ({ offer }) =>
      offer.band !== null && isTooOften(offer.band, rate)
        ? {
            code: 'ADVISOR_BAND',
            reason: `the Spot Advisor says that ${rangeOf(offer.band)} are interrupted a month`,
          }
        : undefined,
    )
    return {
      kept: kept.map((candidate) =>
        candidate.offer.band === null
          ? { ...candidate, flags: [...candidate.flags, 'ADVISOR_UNKNOWN'] }
          : candidate,
      ),
      dropped,
    }
  },
}

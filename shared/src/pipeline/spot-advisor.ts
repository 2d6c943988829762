import { filtered, type Stage } from './context.ts'

/** Interrupted more often than 20 % a month: band 4, the last of five. */
const WORST_BAND = 4

/** Drops the worst band. A type that the Advisor does not know passes with a flag and counts as band 3. */
export const spotAdvisor: Stage = {
  name: 'spot_advisor',
  run(candidates) {
    const { kept, dropped } = filtered(candidates, ({ offer }) =>
      offer.band === WORST_BAND
        ? { code: 'ADVISOR_BAND', reason: 'the Spot Advisor says that over 20 % are interrupted a month' }
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

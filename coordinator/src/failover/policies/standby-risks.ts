import { messageOf } from '@understudy/shared/core/app-error'
import { advisorHazard } from '@understudy/shared/interruption/advisor-rate'
import {
  learnTogether,
  type Neighbour,
  riskClass,
  standbyRisk,
} from '@understudy/shared/interruption/co-interruption'
import { type InterruptionBand, type Pool, parsePool } from '@understudy/shared/market/pool'
import type { Logger } from 'pino'
import type { PoolOffer } from '../../cloud/cloud.ts'
import type { Interruptions } from '../../interruptions/interruptions.ts'

/** What is known of interruptions, for the choice of a standby. */
export interface StandbyRisks {
  /** P(a standby in a pool is lost within 12 h): by itself, or together with those that it stands beside. */
  beside(company: Company): Promise<(offer: Pick<PoolOffer, 'pool' | 'interruptionBand'>) => number>
}

export interface Company {
  readonly primary: Pool | undefined
  /** What is known of it beyond its pool: P(a notice follows) after a recommendation, 1 after a notice. */
  readonly primaryRisk?: number | undefined
  /** Pools of the other standbys. */
  readonly others: readonly string[]
  readonly bandOf: (poolId: string) => InterruptionBand | null
}

const HORIZON_HOURS = 12

export function createStandbyRisks(
  interruptions: Pick<Interruptions, 'rates' | 'together'>,
  log: Logger,
): StandbyRisks {
  /** A replica that is needed now is not left unmade because a history cannot be read: the Advisor's band has to do. */
  async function known() {
    try {
      return { within12h: await interruptions.rates(), together: await interruptions.together() }
    } catch (error) {
      log.warn({ event: 'standby.no_history', why: messageOf(error) })
      return { within12h: byBandAlone, together: learnTogether([]) }
    }
  }

  return {
    async beside({ primary, primaryRisk, others, bandOf }) {
      const { within12h, together } = await known()
      const neighbours: Neighbour[] = others.map((id) => {
        const pool = parsePool(id)
        return { pool, probability: within12h(pool, bandOf(id)) }
      })
      if (primary) {
        const own = within12h(primary, bandOf(`${primary.instanceType}@${primary.availabilityZone}`))
        neighbours.push({ pool: primary, probability: primaryRisk ?? own })
      }
      return ({ pool, interruptionBand }) =>
        standbyRisk(within12h(pool, interruptionBand), pool, neighbours, together)
    },
  }
}

const byBandAlone = (_: Pool, band: InterruptionBand | null): number =>
  -Math.expm1(-advisorHazard(band) * HORIZON_HOURS)

export interface Placed {
  readonly instance: string
  readonly risk: number
  /** In micro-dollars per hour; null where nobody knows. */
  readonly price: number | null
}

/** Standbys by risk, then by price, the best first: whom to take of those that are equally close behind. Pure. */
export const rankStandbys = (standbys: readonly Placed[]): readonly string[] =>
  standbys
    .toSorted(
      (a, b) =>
        riskClass(a.risk) - riskClass(b.risk) ||
        (a.price ?? Number.MAX_SAFE_INTEGER) - (b.price ?? Number.MAX_SAFE_INTEGER) ||
        (a.instance < b.instance ? -1 : 1),
    )
    .map(({ instance }) => instance)

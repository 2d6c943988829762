import type { Instant } from '@understudy/shared/core/time'
import { bandShares } from '@understudy/shared/interruption/advisor-rate'
import type { InterruptionBand } from '@understudy/shared/market/pool'
import { poolId } from '@understudy/shared/market/pool'
import type { InstanceType } from '../cloud/catalog-source.ts'
import type { StoredAdvisorEntry } from './catalog-store.ts'

/** The file `static_intelligence.json` of the earlier platform. Times are UTC, without an offset as it has them. */
export interface StaticIntelligence {
  readonly metadata: {
    readonly last_updated: string | null
    readonly region: string
    readonly source: string
    /** The Spot Advisor knows regions, not zones: the pools of one type have the same rate in every zone. */
    readonly granularity: string
  }
  readonly spot_advisor: Readonly<Record<string, AdvisorRate>>
  readonly instance_metadata: Readonly<Record<string, TypeFacts>>
}

interface AdvisorRate {
  readonly interrupt_rate: number
  readonly interrupt_rate_code: InterruptionBand
  readonly last_updated: string
}

interface TypeFacts {
  readonly vcpu: number
  readonly memory_gb: number
  readonly architecture: string
  readonly family: string
}

export function toStaticIntelligence(parts: {
  readonly region: string
  readonly zones: readonly string[]
  readonly advisor: readonly StoredAdvisorEntry[]
  readonly types: readonly InstanceType[]
}): StaticIntelligence {
  const { region, zones, advisor, types } = parts
  const newest = advisor.reduce<Instant | null>(
    (latest, { asOf, fetchedAt }) => ((asOf ?? fetchedAt) > (latest ?? 0) ? (asOf ?? fetchedAt) : latest),
    null,
  )
  const sold = new Set(advisor.map(({ instanceType }) => instanceType))
  return {
    metadata: {
      last_updated: newest === null ? null : plainTime(newest),
      region,
      source: 'AWS Spot Advisor',
      granularity: 'region',
    },
    spot_advisor: Object.fromEntries(
      advisor.flatMap(({ instanceType, band, asOf, fetchedAt }) =>
        zones.map((availabilityZone) => [
          poolId({ instanceType, availabilityZone }),
          {
            interrupt_rate: bandShares[band],
            interrupt_rate_code: band,
            last_updated: plainTime(asOf ?? fetchedAt),
          },
        ]),
      ),
    ),
    instance_metadata: Object.fromEntries(
      types
        .filter(({ instanceType }) => sold.has(instanceType))
        .map(({ instanceType, vcpu, memoryMib, architecture }) => [
          instanceType,
          { vcpu, memory_gb: memoryMib / 1024, architecture, family: instanceType.split('.', 1)[0] ?? '' },
        ]),
    ),
  }
}

const plainTime = (at: Instant): string => new Date(at).toISOString().slice(0, 19)

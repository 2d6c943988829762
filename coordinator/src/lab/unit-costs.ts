import { isAppError } from '@understudy/shared/core/app-error'
import { type AgentId, agentId } from '@understudy/shared/core/ids'
import type { Interval } from '@understudy/shared/market/interval'
import type { SavingsView } from '@understudy/shared/protocol/market'
import type { CostOf } from './experiment-observations.ts'

/** What the market knows of what an agent cost. */
export interface AgentCosts {
  /** @throws AppError `not_found` */
  of(agentId: AgentId, range: Interval): Promise<SavingsView>
}

/**
 * What an agent cost by the book of savings: its primary, what ran beside it, and its switches. Useful are the hours in which it
 * ran and its prices are known. A target without an agent has no book, and costs nothing that could be compared.
 */
export const unitCosts =
  (book: AgentCosts): CostOf =>
  async (unit, range) => {
    try {
      const spent = await book.of(agentId(unit), range)
      if (spent.counted_hours === 0) return null
      const usd = spent.spot_cost + spent.double_running_cost + (spent.switch_cost ?? 0)
      return { usd, usefulHours: spent.counted_hours }
    } catch (error) {
      if (isAppError(error, 'not_found')) return null
      throw error
    }
  }

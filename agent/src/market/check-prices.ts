import { AppError } from '@understudy/shared/core/app-error'
import { toUsd } from '@understudy/shared/core/money'
import type { Clock } from '@understudy/shared/core/time'
import { openEc2, readCurrentPrices } from '../aws/aws.ts'
import type { AgentConfig } from '../config/options.ts'
import type { ImdsClient } from '../imds/imds-client.ts'

/**
 * Asks for the prices that the agent would sample, and says what came in a sentence.
 * @throws AppError as `Ec2Query.call`; `not_found` where EC2 sells none of the types
 */
export async function checkPrices(config: AgentConfig, imds: ImdsClient, clock: Clock): Promise<string> {
  const { ec2, instanceType, region } = await openEc2(imds, clock, config.ec2_endpoint)
  const types = [...new Set([instanceType, ...config.alternative_types])]
  const { prices, missing } = await readCurrentPrices(ec2, types)
  const usd = [...prices.values()].map(toUsd)
  if (missing.length > 0)
    throw new AppError('not_found', `EC2 has no Spot price of ${missing.join(', ')} in ${region}`, {
      hint: 'Correct alternative_types; without a price there, a type is left out.',
    })
  return `${prices.size} pools of ${types.join(', ')} in ${region}, ${Math.min(...usd)} to ${Math.max(...usd)} USD per hour`
}

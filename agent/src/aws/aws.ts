import { AppError } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import type { ImdsClient } from '../imds/imds-client.ts'
import { createEc2Query, type Ec2Query } from './ec2-query.ts'
import { createRoleCredentials } from './role-credentials.ts'

export type { Ec2Query } from './ec2-query.ts'
export { type CurrentPrices, readCurrentPrices } from './spot-prices.ts'

/** EC2 as this instance reaches it, and what the instance is there. */
export interface Ec2OfInstance {
  readonly ec2: Ec2Query
  readonly region: string
  readonly instanceType: string
}

/**
 * Reads from the metadata service what is needed to call EC2. Nothing is sent to AWS yet.
 * @param endpoint instead of the public one of the region
 * @throws AppError `imds_unusable` where it does not say the region or the type, and the others of the metadata service
 */
export async function openEc2(
  imds: ImdsClient,
  clock: Clock,
  endpoint: string | undefined,
  signal?: AbortSignal,
): Promise<Ec2OfInstance> {
  const region = await imds.get('meta-data/placement/region', signal)
  const instanceType = await imds.get('meta-data/instance-type', signal)
  const domain = await imds.get('meta-data/services/domain', signal)
  if (!isWord(region) || !isWord(instanceType))
    throw new AppError(
      'imds_unusable',
      'the metadata service does not say the region and the type of this instance',
      {
        hint: 'Check that IMDS_ENDPOINT is the metadata service of an EC2 instance.',
      },
    )
  const ec2 = createEc2Query({
    endpoint: endpoint ?? `https://ec2.${region}.${isDomain(domain) ? domain : 'amazonaws.com'}`,
    region,
    credentials: createRoleCredentials(imds, clock),
    clock,
  })
  return { ec2, region, instanceType }
}

const isWord = (text: string | undefined): text is string =>
  text !== undefined && /^[a-z0-9.-]{2,40}$/.test(text)
/** `amazonaws.com`, `amazonaws.com.cn`, …: credentials are signed for no other. */
const isDomain = (text: string | undefined): text is string =>
  text !== undefined && /^amazonaws(\.[a-z]{2,10}){1,2}$/.test(text)

import { type Pool, regionOf } from '@understudy/shared/market/pool'
import { zoneIdOf } from './catalog.ts'

/** What the metadata service says of an instance that nothing has happened to. */
export const instanceItems = (instance: {
  readonly instanceId: string
  readonly pool: Pool
  readonly lifeCycle?: 'spot' | 'on-demand' | undefined
  readonly privateIp: string
  readonly document: string
  readonly signature: string
}): Record<string, string> => {
  const { instanceId, pool, lifeCycle = 'spot', privateIp, document, signature } = instance
  return {
    'meta-data/instance-id': instanceId,
    'meta-data/instance-type': pool.instanceType,
    'meta-data/instance-life-cycle': lifeCycle,
    'meta-data/local-ipv4': privateIp,
    'meta-data/placement/availability-zone': pool.availabilityZone,
    'meta-data/placement/availability-zone-id': zoneIdOf(pool.availabilityZone),
    'meta-data/placement/region': regionOf(pool.availabilityZone),
    'dynamic/instance-identity/document': document,
    'dynamic/instance-identity/signature': signature,
  }
}

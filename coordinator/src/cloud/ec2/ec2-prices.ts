import { minutes, systemClock } from '@understudy/shared/core/time'
import { createPacer } from '../pacer.ts'
import type { PriceSources } from '../price-sources.ts'
import { createEc2Catalog } from './ec2-catalog.ts'
import { createEc2Clients } from './ec2-clients.ts'
import { createEc2History } from './ec2-history.ts'

/** Half of what EC2 lets an account ask in a second in the long run, so that its other users are not in want. */
const PER_SECOND = 5

/** EC2 and the price list, by the credentials of this machine's environment, all at one measured pace. */
export function createEc2Prices(endpoint: string | undefined): Required<PriceSources> {
  const clients = createEc2Clients({ endpoint })
  const pacer = createPacer({
    clock: systemClock,
    random: Math.random,
    perSecond: PER_SECOND,
    burst: PER_SECOND,
    patience: minutes(2),
  })
  return { history: createEc2History(clients, pacer), catalog: createEc2Catalog({ clients, pacer }) }
}

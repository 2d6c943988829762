import { type _InstanceType, DescribeSpotPriceHistoryCommand, type SpotPrice } from '@aws-sdk/client-ec2'
import { hours } from '@understudy/shared/core/time'
import type { GivenSample } from '@understudy/shared/market/sample'
import { EC2_SILENCE, type HistoryQuery, type HistorySource } from '../history-source.ts'
import type { Pacer } from '../pacer.ts'
import type { Ec2Clients } from './ec2-clients.ts'
import { emptyAnswer } from './ec2-errors.ts'
import { eachPage } from './ec2-pages.ts'

/** DescribeSpotPriceHistory: rows of the last 90 days, at most 1,000 on a page. */
export function createEc2History(clients: Ec2Clients, pacer: Pacer): HistorySource {
  return {
    reach: hours(90 * 24),
    silence: EC2_SILENCE,
    async *fetch(query, signal) {
      const what = `the price history of ${query.instanceTypes.join(', ')} in ${query.region}`
      const pages = eachPage(pacer, what, (token, until) => ask(clients, query, token, until, what), signal)
      for await (const rows of pages) yield rows.map(toGiven)
    },
  }
}

async function ask(
  clients: Ec2Clients,
  { region, instanceTypes, availabilityZone, range }: HistoryQuery,
  token: string | undefined,
  signal: AbortSignal,
  what: string,
) {
  const answer = await clients(region).send(
    new DescribeSpotPriceHistoryCommand({
      InstanceTypes: [...instanceTypes] as _InstanceType[],
      ProductDescriptions: ['Linux/UNIX'],
      StartTime: new Date(range.from),
      EndTime: new Date(range.to),
      MaxResults: 1000,
      ...(availabilityZone === undefined ? {} : { AvailabilityZone: availabilityZone }),
      ...(token === undefined ? {} : { NextToken: token }),
    }),
    { abortSignal: signal },
  )
  // An empty list is an answer; none at all is what the SDK makes of an empty body or somebody's HTML page.
  if (!answer.SpotPriceHistory) throw emptyAnswer(what)
  const own = answer.SpotPriceHistory.filter((row) => row.ProductDescription === 'Linux/UNIX')
  return { items: own, next: answer.NextToken }
}

const toGiven = ({ InstanceType, AvailabilityZone, SpotPrice, Timestamp }: SpotPrice): GivenSample => ({
  pool: `${InstanceType ?? ''}@${AvailabilityZone ?? ''}`,
  at: Timestamp?.getTime(),
  price: SpotPrice,
})

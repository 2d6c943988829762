import {
  DescribeAvailabilityZonesCommand,
  DescribeInstanceTypesCommand,
  type EC2Client,
} from '@aws-sdk/client-ec2'
import { GetProductsCommand, PricingClient } from '@aws-sdk/client-pricing'
import type { CatalogSource } from '../catalog-source.ts'
import type { Pacer } from '../pacer.ts'
import type { Ec2Clients } from './ec2-clients.ts'
import { emptyAnswer } from './ec2-errors.ts'
import { toInstanceType, toZone } from './ec2-mapping.ts'
import { allPages, eachPage } from './ec2-pages.ts'
import { mergePrices, readPriceListItem } from './price-list.ts'

/** The price list is served from few regions; each knows the prices of all. */
const PRICE_LIST_REGION = 'us-east-1'

export interface Ec2CatalogParts {
  readonly clients: Ec2Clients
  readonly pacer: Pacer
  readonly pricing?: PricingClient
}

/** DescribeInstanceTypes, DescribeAvailabilityZones and the price list's GetProducts, all pages of each. */
export function createEc2Catalog(parts: Ec2CatalogParts): CatalogSource {
  const { clients, pacer } = parts
  let pricing = parts.pricing
  const pricingClient = () => {
    pricing ??= new PricingClient({ region: PRICE_LIST_REGION, maxAttempts: 1 })
    return pricing
  }
  return {
    async instanceTypes(region, signal) {
      const what = `the instance types of ${region}`
      const pages = eachPage(
        pacer,
        what,
        (token, until) => askTypes(clients(region), token, until, what),
        signal,
      )
      return (await allPages(pages)).flatMap((type) => toInstanceType(type) ?? [])
    },
    async onDemandPrices(region, signal) {
      const what = `the on-demand prices of ${region}`
      const ask = (token: string | undefined, until: AbortSignal) =>
        askPrices(pricingClient(), region, token, until, what)
      const items = await allPages(eachPage(pacer, what, ask, signal))
      const prices = items.flatMap((item) => readPriceListItem(item) ?? [])
      return mergePrices(prices.filter((price) => price.region === region))
    },
    async zones(region, signal) {
      const what = `the zones of ${region}`
      const pages = eachPage(pacer, what, (_, until) => askZones(clients(region), until, what), signal)
      return (await allPages(pages)).flatMap((zone) => toZone(zone) ?? [])
    },
  }
}

async function askTypes(ec2: EC2Client, token: string | undefined, signal: AbortSignal, what: string) {
  const answer = await ec2.send(
    new DescribeInstanceTypesCommand({
      MaxResults: 100,
      ...(token === undefined ? {} : { NextToken: token }),
    }),
    { abortSignal: signal },
  )
  if (!answer.InstanceTypes) throw emptyAnswer(what)
  return { items: answer.InstanceTypes, next: answer.NextToken }
}

async function askZones(ec2: EC2Client, signal: AbortSignal, what: string) {
  const answer = await ec2.send(new DescribeAvailabilityZonesCommand({ AllAvailabilityZones: true }), {
    abortSignal: signal,
  })
  if (!answer.AvailabilityZones?.length) throw emptyAnswer(what)
  return { items: answer.AvailabilityZones, next: undefined }
}

/** Linux, shared hardware, nothing pre-installed, in use rather than reserved capacity, on demand: one price per type. */
const LINUX_ON_DEMAND = {
  operatingSystem: 'Linux',
  tenancy: 'Shared',
  preInstalledSw: 'NA',
  capacitystatus: 'Used',
  marketoption: 'OnDemand',
}

async function askPrices(
  client: PricingClient,
  region: string,
  token: string | undefined,
  signal: AbortSignal,
  what: string,
) {
  const filters = { regionCode: region, ...LINUX_ON_DEMAND }
  const answer = await client.send(
    new GetProductsCommand({
      ServiceCode: 'AmazonEC2',
      FormatVersion: 'aws_v1',
      Filters: Object.entries(filters).map(([Field, Value]) => ({ Type: 'TERM_MATCH', Field, Value })),
      MaxResults: 100,
      ...(token === undefined ? {} : { NextToken: token }),
    }),
    { abortSignal: signal },
  )
  if (!answer.PriceList) throw emptyAnswer(what)
  return { items: [...answer.PriceList].map(String), next: answer.NextToken }
}

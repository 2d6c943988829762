import { PricingClient } from '@aws-sdk/client-pricing'
import { fromUsd } from '@understudy/shared/core/money'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createEc2Catalog } from './ec2-catalog.ts'
import { toInstanceType } from './ec2-mapping.ts'
import { answer, ec2, oneTry, refusal, testClients, xml } from './testing.ts'

const server = setupServer()
beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
afterEach(() => server.resetHandlers())
afterAll(() => server.close())

const PRICING = 'http://pricing.test'
const signal = new AbortController().signal
const catalog = createEc2Catalog({
  clients: testClients,
  pacer: oneTry,
  pricing: new PricingClient({
    region: 'us-east-1',
    endpoint: PRICING,
    maxAttempts: 1,
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'not-a-secret' },
  }),
})

const typeXml = (name: string, more = '') =>
  `<item><instanceType>${name}</instanceType><bareMetal>false</bareMetal><burstablePerformanceSupported>false</burstablePerformanceSupported>
  <processorInfo><supportedArchitectures><item>i386</item><item>x86_64</item></supportedArchitectures></processorInfo>
  <vCpuInfo><defaultVCpus>2</defaultVCpus></vCpuInfo><memoryInfo><sizeInMiB>4096</sizeInMiB></memoryInfo>
  <networkInfo><networkPerformance>Up to 10 Gigabit</networkPerformance></networkInfo>${more}</item>`
const typesPage = (types: string, next = '') =>
  xml(
    answer(
      'DescribeInstanceTypes',
      `<instanceTypeSet>${types}</instanceTypeSet><nextToken>${next}</nextToken>`,
    ),
  )

test('numbers that no machine has leave the type out', () => {
  const record = (vcpu: number, mib: number, gpus: readonly number[]) => ({
    InstanceType: 'c5.large',
    VCpuInfo: { DefaultVCpus: vcpu },
    MemoryInfo: { SizeInMiB: mib },
    ProcessorInfo: { SupportedArchitectures: ['x86_64'] },
    GpuInfo: { Gpus: gpus.map((Count) => ({ Count })) },
  })
  expect(toInstanceType(record(2, 4096, [4]))).toMatchObject({ vcpu: 2, gpuCount: 4 })
  for (const bad of [record(2 ** 31, 4096, []), record(2, 2 ** 40, []), record(2, 4096, [2 ** 30, 2 ** 30])])
    expect(toInstanceType(bad)).toBeUndefined()
})

test('instance types come from all pages; one that lacks what is needed is left out', async () => {
  const gpu = '<gpuInfo><gpus><item><name>V100</name><count>4</count></item></gpus></gpuInfo>'
  const { asked, handler } = ec2((parameters) =>
    parameters.get('NextToken') === 'two'
      ? typesPage(typeXml('p3.8xlarge', gpu))
      : typesPage(`${typeXml('c5.large')}<item><instanceType>x.y</instanceType></item>`, 'two'),
  )
  server.use(handler)
  const common = {
    vcpu: 2,
    memoryMib: 4096,
    architecture: 'x86_64',
    networkGbps: 10,
    burstable: false,
    bareMetal: false,
  }
  expect(await catalog.instanceTypes('ap-south-1', signal)).toEqual([
    { instanceType: 'c5.large', ...common, gpuCount: 0, gpuName: null },
    { instanceType: 'p3.8xlarge', ...common, gpuCount: 4, gpuName: 'V100' },
  ])
  expect(asked).toHaveLength(2)
})

test('when the second page fails there is no answer, rather than half of one', async () => {
  server.use(
    ec2((parameters) =>
      parameters.has('NextToken') ? refusal('InternalError', 500) : typesPage(typeXml('c5.large'), 'two'),
    ).handler,
  )
  await expect(catalog.instanceTypes('ap-south-1', signal)).rejects.toMatchObject({ code: 'unavailable' })
})

test('zones have a name and an id', async () => {
  const zone =
    '<item><zoneName>ap-south-1a</zoneName><zoneId>aps1-az1</zoneId><regionName>ap-south-1</regionName></item>'
  server.use(
    ec2((parameters) => {
      expect(parameters.get('AllAvailabilityZones')).toBe('true')
      return xml(answer('DescribeAvailabilityZones', `<availabilityZoneInfo>${zone}</availabilityZoneInfo>`))
    }).handler,
  )
  expect(await catalog.zones('ap-south-1', signal)).toEqual([
    { name: 'ap-south-1a', id: 'aps1-az1', region: 'ap-south-1' },
  ])
  server.use(ec2(() => xml('<html/>')).handler)
  await expect(catalog.zones('ap-south-1', signal)).rejects.toMatchObject({ code: 'unavailable' })
})

const product = (instanceType: string, usd: string, attributes: object = {}, unit = 'Hrs') =>
  JSON.stringify({
    product: {
      productFamily: 'Compute Instance',
      attributes: {
        instanceType,
        regionCode: 'ap-south-1',
        operatingSystem: 'Linux',
        tenancy: 'Shared',
        preInstalledSw: 'NA',
        capacitystatus: 'Used',
        ...attributes,
      },
      sku: 'ABC',
    },
    serviceCode: 'AmazonEC2',
    terms: {
      OnDemand: {
        'ABC.JRTCKXETXF': {
          effectiveDate: '2025-11-01T00:00:00Z',
          priceDimensions: { 'ABC.JRTCKXETXF.6YS6EN2CT7': { unit, pricePerUnit: { USD: usd } } },
        },
      },
    },
  })

test('on-demand prices come from all pages of the price list: Linux, shared, by the hour, in dollars', async () => {
  const asked: { Filters: { Field: string; Value: string }[]; NextToken?: string; ServiceCode: string }[] = []
  server.use(
    http.post(`${PRICING}/`, async ({ request }) => {
      asked.push((await request.json()) as (typeof asked)[number])
      return HttpResponse.json(
        asked.length === 1
          ? {
              FormatVersion: 'aws_v1',
              NextToken: 'two',
              PriceList: [product('c5.large', '0.0850000000'), 'not JSON'],
            }
          : {
              PriceList: [
                product('m5.large', '0.0960000000'),
                product('m5.large', '0.1000000000'),
                product('p5.48xlarge', '0.0000000000'),
                product('c5.xlarge', '1', { tenancy: 'Dedicated' }),
                product('c5.2xlarge', '1', { regionCode: 'us-east-1' }),
                product('c5.4xlarge', '1', {}, 'Quantity'),
                product('c5.9xlarge', '-1'),
              ],
            },
      )
    }),
  )
  const asOf = Date.UTC(2025, 10, 1)
  expect(await catalog.onDemandPrices('ap-south-1', signal)).toEqual([
    { instanceType: 'c5.large', region: 'ap-south-1', os: 'Linux', price: fromUsd(0.085), asOf },
    { instanceType: 'm5.large', region: 'ap-south-1', os: 'Linux', price: fromUsd(0.096), asOf },
  ])
  expect(asked.map(({ NextToken }) => NextToken)).toEqual([undefined, 'two'])
  expect(asked[0]?.ServiceCode).toBe('AmazonEC2')
  expect(Object.fromEntries(asked[0]?.Filters.map(({ Field, Value }) => [Field, Value]) ?? [])).toEqual({
    regionCode: 'ap-south-1',
    operatingSystem: 'Linux',
    tenancy: 'Shared',
    preInstalledSw: 'NA',
    capacitystatus: 'Used',
    marketoption: 'OnDemand',
  })
})

test.each([
  ['ThrottlingException', 400, 'unavailable'],
  ['AccessDeniedException', 400, 'forbidden'],
])('the price list’s %s (%i) is %s', async (type, status, code) => {
  server.use(http.post(`${PRICING}/`, () => HttpResponse.json({ __type: type }, { status })))
  await expect(catalog.onDemandPrices('ap-south-1', signal)).rejects.toMatchObject({ code })
})

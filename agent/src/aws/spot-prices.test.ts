import { isAppError } from '@understudy/shared/core/app-error'
import { seededRandom } from '@understudy/shared/core/random'
import { hours, minutes, systemClock } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createImdsClient } from '../imds/imds-client.ts'
import { openEc2, readCurrentPrices } from './aws.ts'
import { defaultItems, EC2, IMDS, imdsHandlers, pageOf, refusalOf, roleDocument } from './testing.ts'

const server = setupServer()
beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
afterEach(() => server.resetHandlers())
afterAll(() => server.close())

/** 2023-11-14T22:13:20Z, as a virtual clock begins. */
const NOW = '2023-11-14T22:13:20.000Z'

interface Asked {
  readonly form: URLSearchParams
  readonly headers: Headers
}

/** An instance with its role, and an EC2 that gives these answers, one after the other; the last one again and again. */
async function instanceWith(
  answers: readonly (() => Response)[],
  items: Record<string, string | undefined> = { ...defaultItems },
  endpoint?: string,
) {
  const time = createVirtualTime()
  const asked: Asked[] = []
  const read: string[] = []
  server.use(
    ...imdsHandlers(items, read),
    http.post(endpoint ?? EC2, async ({ request }) => {
      asked.push({ form: new URLSearchParams(await request.text()), headers: request.headers })
      const answer = answers[Math.min(asked.length, answers.length) - 1]
      if (!answer) throw new Error('no answer was given')
      return answer()
    }),
  )
  const imds = createImdsClient(IMDS, systemClock, seededRandom(1))
  const { ec2, instanceType } = await openEc2(imds, time.clock, endpoint)
  const prices = (types: readonly string[] = [instanceType]) => readCurrentPrices(ec2, types)
  return { prices, asked, read, time, ec2, items }
}

const page =
  (...args: Parameters<typeof pageOf>) =>
  () =>
    HttpResponse.xml(pageOf(...args))
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

test('the price of every pool of the type now, and nothing of another product', async () => {
  const { prices, asked } = await instanceWith([
    page([
      { price: '0.041600', at: '2023-11-14T01:00:00.000Z' },
      { price: '0.042000', at: '2023-11-14T20:00:00.000Z' },
      { price: '0.039900', zone: 'us-east-1b' },
      { price: '0.090000', product: 'Windows' },
      { price: '0', zone: 'us-east-1c' },
      { price: 'dear', zone: 'us-east-1d' },
      { price: '0.05', zone: 'nowhere' },
    ]),
  ])
  expect(await prices()).toEqual({
    at: Date.parse(NOW),
    prices: new Map([
      ['c5.large@us-east-1a', 42_000],
      ['c5.large@us-east-1b', 39_900],
    ]),
    missing: [],
  })
  expect(Object.fromEntries(asked[0]?.form ?? [])).toEqual({
    Action: 'DescribeSpotPriceHistory',
    Version: '2016-11-15',
    StartTime: NOW,
    EndTime: NOW,
    MaxResults: '1000',
    'ProductDescription.1': 'Linux/UNIX',
    'InstanceType.1': 'c5.large',
  })
  expect(asked[0]?.headers.get('x-amz-security-token')).toBe('token-of-the-session')
  expect(asked[0]?.headers.get('x-amz-date')).toBe('20231114T221320Z')
  expect(asked[0]?.headers.get('authorization')).toContain(
    'Credential=ASIAEXAMPLE/20231114/us-east-1/ec2/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token',
  )
})

test('all pages are read, empty ones and repeated rows too', async () => {
  const { prices, asked } = await instanceWith([
    page([{ price: '0.0416' }], 'two'),
    page([], 'three'),
    page([{ price: '0.0416' }, { price: '0.0399', zone: 'us-east-1b' }]),
  ])
  expect([...(await prices()).prices.values()]).toEqual([41_600, 39_900])
  expect(asked.map(({ form }) => form.get('NextToken'))).toEqual([null, 'two', 'three'])
})

test('pages that lead back to themselves end', async () => {
  const { prices } = await instanceWith([page([{ price: '0.0416' }], 'two')])
  expect(await failure(prices())).toMatchObject({
    code: 'protocol',
    message: expect.stringContaining('no end'),
  })
})

test('half an answer, and the answer to something else, are errors', async () => {
  const { prices } = await instanceWith([
    () => HttpResponse.xml(pageOf([{ price: '0.0416' }]).slice(0, 300)),
    () => HttpResponse.xml('<DescribeRegionsResponse></DescribeRegionsResponse>'),
  ])
  expect(await failure(prices())).toMatchObject({ code: 'protocol', retryable: true })
  expect(await failure(prices())).toMatchObject({
    code: 'protocol',
    message: expect.stringContaining('DescribeRegions'),
  })
})

test('one type that does not exist does not hide the others', async () => {
  const { prices, asked } = await instanceWith([
    () => refusalOf('InvalidParameterValue'),
    page([{ price: '0.0416' }]),
    () => refusalOf('InvalidParameterValue'),
    page([{ price: '0.05', type: 'm5.large' }]),
  ])
  const { prices: found, missing } = await prices(['c5.large', 'c5.lagre', 'm5.large'])
  expect([...found.keys()]).toEqual(['c5.large@us-east-1a', 'm5.large@us-east-1a'])
  expect(missing).toEqual(['c5.lagre'])
  expect(asked).toHaveLength(4)
})

test.each([
  [
    'UnauthorizedOperation',
    403,
    { code: 'forbidden', retryable: false, hint: expect.stringContaining('ec2:DescribeSpotPriceHistory') },
  ],
  ['AuthFailure', 401, { code: 'unauthenticated', retryable: true }],
  ['OptInRequired', 401, { code: 'forbidden', retryable: false }],
  [
    'RequestLimitExceeded',
    503,
    { code: 'unavailable', retryable: true, hint: expect.stringContaining('too often') },
  ],
  ['InternalError', 500, { code: 'unavailable', retryable: true }],
  [
    'InvalidAction',
    400,
    { code: 'unavailable', retryable: false, hint: expect.stringContaining('ec2_endpoint') },
  ],
])('%s', async (code, status, expected) => {
  const { prices } = await instanceWith([() => refusalOf(code, status)])
  const error = await failure(prices())
  expect(error).toMatchObject(expected)
  expect(JSON.stringify(error) + String(error)).not.toMatch(/secret-of-the-role|token-of-the-session/)
})

test('errors without XML count by their status', async () => {
  const { prices } = await instanceWith([
    () => HttpResponse.text('<html>bad gateway', { status: 502 }),
    () => HttpResponse.text('no', { status: 403 }),
    () => HttpResponse.error() as Response,
  ])
  expect(await failure(prices())).toMatchObject({ code: 'unavailable', retryable: true })
  expect(await failure(prices())).toMatchObject({ code: 'forbidden' })
  expect(await failure(prices())).toMatchObject({
    code: 'unavailable',
    hint: expect.stringContaining('VPC endpoint'),
  })
})

test('a clock that is wrong is corrected once, by the Date of the answer', async () => {
  const { prices, asked, ec2, time } = await instanceWith([
    () => refusalOf('RequestExpired', 400, { date: 'Tue, 14 Nov 2023 23:13:20 GMT' }),
    page([{ price: '0.0416' }]),
  ])
  expect((await prices()).prices.size).toBe(1)
  const dates = asked.map(({ headers }) => headers.get('x-amz-date'))
  expect(dates).toEqual(['20231114T221320Z', '20231114T231320Z', '20231114T231320Z'])
  // What was asked for by the wrong clock is asked for again.
  expect(asked.map(({ form }) => form.get('StartTime'))).toEqual([NOW, NOW, '2023-11-14T23:13:20.000Z'])
  expect(ec2.now()).toBe(time.clock.now() + hours(1))
})

test('where the clock is right, a refusal stays one', async () => {
  const { prices, asked, read } = await instanceWith([
    () => refusalOf('RequestExpired', 400, { date: 'Tue, 14 Nov 2023 22:13:21 GMT' }),
  ])
  expect(await failure(prices())).toMatchObject({ code: 'unauthenticated' })
  // Once more with credentials that were read anew, and no more.
  expect(asked).toHaveLength(2)
  expect(read.filter((path) => path.endsWith('agent-role'))).toHaveLength(2)
})

test('credentials that were refused are read again, once', async () => {
  const { prices, asked, read, items } = await instanceWith([
    () => {
      items['meta-data/iam/security-credentials/agent-role'] = roleDocument({ AccessKeyId: 'ASIANEW' })
      return refusalOf('ExpiredToken')
    },
    page([{ price: '0.0416' }]),
  ])
  expect((await prices()).prices.size).toBe(1)
  expect(asked[1]?.headers.get('authorization')).toContain('Credential=ASIANEW/')
  expect(read.filter((path) => path.endsWith('agent-role'))).toHaveLength(2)
})

test('credentials are kept while they last, and refreshed before they end', async () => {
  const { prices, read, items, time } = await instanceWith([page([{ price: '0.0416' }])])
  const reads = () => read.filter((path) => path.endsWith('agent-role')).length
  await prices()
  await prices()
  expect(reads()).toBe(1)
  // They end at 04:00, which is in 5 h 46 min 40 s.
  await time.advance(minutes(342))
  items['meta-data/iam/security-credentials/agent-role'] = undefined
  await prices()
  expect(reads()).toBe(2)
  await time.advance(minutes(5))
  expect(await failure(prices())).toMatchObject({ code: 'unauthenticated' })
})

test.each([
  [{ 'meta-data/iam/security-credentials': undefined }, 'forbidden', 'no IAM role'],
  [{ 'meta-data/iam/security-credentials': '../../user-data' }, 'forbidden', 'no IAM role'],
  [
    { 'meta-data/iam/security-credentials/agent-role': roleDocument({ Code: 'Failed' }) },
    'unauthenticated',
    'no credentials',
  ],
  [
    { 'meta-data/iam/security-credentials/agent-role': roleDocument({ Token: 'a\r\nheader: b' }) },
    'unauthenticated',
    'no credentials',
  ],
  [{ 'meta-data/iam/security-credentials/agent-role': 'nonsense' }, 'unauthenticated', 'no credentials'],
])('without credentials nothing is asked: %j', async (change, code, message) => {
  const { prices, asked } = await instanceWith([page([])], { ...defaultItems, ...change })
  const error = await failure(prices())
  expect(isAppError(error)).toBe(true)
  expect(error).toMatchObject({ code, message: expect.stringContaining(message) })
  expect(asked).toEqual([])
})

test('another endpoint, and the domain of another partition', async () => {
  const china = { ...defaultItems, 'meta-data/services/domain': 'amazonaws.com.cn' }
  expect((await instanceWith([], china)).ec2.endpoint).toBe('https://ec2.us-east-1.amazonaws.com.cn')
  const odd = { ...defaultItems, 'meta-data/services/domain': 'evil.example' }
  expect((await instanceWith([], odd)).ec2.endpoint).toBe('https://ec2.us-east-1.amazonaws.com')
  const vpc = 'https://vpce-0123.ec2.us-east-1.vpce.amazonaws.com/'
  const { prices, asked } = await instanceWith([page([{ price: '0.0416' }])], { ...defaultItems }, vpc)
  expect((await prices()).prices.size).toBe(1)
  expect(asked[0]?.headers.get('authorization')).toContain('Credential=ASIAEXAMPLE')
})

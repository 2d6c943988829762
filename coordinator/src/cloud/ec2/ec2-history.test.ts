import { instant, millis, seconds, systemClock } from '@understudy/shared/core/time'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createPacer } from '../pacer.ts'
import { createEc2History } from './ec2-history.ts'
import { answer, ec2, historyPage, oneTry, refusal, testClients, xml } from './testing.ts'

const server = setupServer()
beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
afterEach(() => server.resetHandlers())
afterAll(() => server.close())

const range = {
  from: instant(Date.parse('2025-11-01T00:00:00Z')),
  to: instant(Date.parse('2025-11-20T10:00:00.123Z')),
}
const query = { region: 'ap-south-1', instanceTypes: ['c5.large', 'm5.large'], range }

async function read(pacer = oneTry, signal = new AbortController().signal) {
  const pages = []
  for await (const page of createEc2History(testClients, pacer).fetch(query, signal)) pages.push(page)
  return pages
}
const row = (hour: number, price = '0.041600') => ({
  pool: 'c5.large@ap-south-1a',
  at: `2025-11-20T0${hour}:00:00.000Z`,
  price,
})
const given = (hour: number, price = '0.041600') => ({
  pool: 'c5.large@ap-south-1a',
  at: Date.parse(row(hour).at),
  price,
})

test('every page is read, and each question is the same but for the token', async () => {
  const { asked, handler } = ec2((_, count) =>
    xml(historyPage([row(9 - count), row(8 - count, 'what')], count < 3 ? `token-${count}` : '')),
  )
  server.use(handler)
  expect(await read()).toEqual([
    [given(8), given(7, 'what')],
    [given(7), given(6, 'what')],
    [given(6), given(5, 'what')],
  ])
  expect(asked.map((parameters) => parameters.get('NextToken'))).toEqual([null, 'token-1', 'token-2'])
  expect(Object.fromEntries(asked[2] ?? [])).toMatchObject({
    Action: 'DescribeSpotPriceHistory',
    'InstanceType.1': 'c5.large',
    'InstanceType.2': 'm5.large',
    'ProductDescription.1': 'Linux/UNIX',
    StartTime: '2025-11-01T00:00:00Z',
  })
})

test('rows of another product are not taken for Linux', async () => {
  const windows = { ...row(8), product: 'Windows', price: '9.9' }
  server.use(ec2(() => xml(historyPage([windows, row(7)]))).handler)
  expect(await read()).toEqual([[given(7)]])
})

test('an answer without rows is an answer: not offered there', async () => {
  server.use(ec2(() => xml(historyPage([]))).handler)
  expect(await read()).toEqual([[]])
})

test.each([
  ['an empty body', ''],
  ['a proxy’s page', '<html><body>Please sign in</body></html>'],
  ['half a page', historyPage([row(8), row(7)]).slice(0, 400)],
  ['a page that lacks its last characters', historyPage([row(8)]).slice(0, -20)],
  ['another answer', answer('DescribeInstances', '<reservationSet/>')],
])('%s is never taken for an answer without rows', async (_, body) => {
  server.use(ec2(() => xml(body)).handler)
  await expect(read()).rejects.toMatchObject({ code: 'unavailable', retryable: true })
})

test.each([
  ['RequestLimitExceeded', 503, 'unavailable', true],
  ['InternalError', 500, 'unavailable', true],
  ['UnauthorizedOperation', 403, 'forbidden', false],
  ['RequestExpired', 400, 'forbidden', false],
  ['InvalidParameterValue', 400, 'input_invalid', false],
])('%s is %s: %s', async (code, status, ours, retryable) => {
  server.use(ec2(() => refusal(code, status)).handler)
  await expect(read()).rejects.toMatchObject({ code: ours, retryable })
})

test('a page that leads back to an earlier one ends it with an error', async () => {
  const { asked, handler } = ec2((_, count) => xml(historyPage([row(8)], count % 2 ? 'a' : 'b')))
  server.use(handler)
  await expect(read()).rejects.toMatchObject({ code: 'protocol' })
  expect(asked).toHaveLength(3)
})

test('throttled calls are made again and the page is not lost', async () => {
  const { asked, handler } = ec2((_, count) =>
    count <= 2 ? refusal('RequestLimitExceeded', 503) : xml(historyPage([row(8)])),
  )
  server.use(handler)
  const pacer = createPacer({
    clock: systemClock,
    random: () => 0.5,
    perSecond: 1000,
    burst: 10,
    patience: seconds(5),
    backoff: { base: millis(4), cap: millis(20) },
  })
  expect(await read(pacer)).toEqual([[given(8)]])
  expect(asked).toHaveLength(3)
})

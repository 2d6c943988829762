import { HttpResponse, http } from 'msw'
import type { Pacer } from '../pacer.ts'
import { createEc2Clients } from './ec2-clients.ts'

/** EC2's Query API behind msw, one answer after the other. */

const EC2_ENDPOINT = 'http://ec2.test'

export const testClients = createEc2Clients({
  endpoint: EC2_ENDPOINT,
  credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'not-a-secret' },
})

/** Calls once and does not wait. */
export const oneTry: Pacer = { run: (call, signal) => call(signal) }

export interface PriceRow {
  readonly pool: string
  readonly at: string
  readonly price: string
  readonly product?: string
}

/** One page as EC2 writes it. */
export const historyPage = (rows: readonly PriceRow[], next = ''): string =>
  answer(
    'DescribeSpotPriceHistory',
    `<spotPriceHistorySet>${rows
      .map(({ pool, at, price, product = 'Linux/UNIX' }) => {
        const [type, zone] = pool.split('@')
        return `<item><instanceType>${type}</instanceType><productDescription>${product}</productDescription><spotPrice>${price}</spotPrice><timestamp>${at}</timestamp><availabilityZone>${zone}</availabilityZone></item>`
      })
      .join('')}</spotPriceHistorySet><nextToken>${next}</nextToken>`,
  )

export const answer = (action: string, body: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<${action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>${body}</${action}Response>`

export const xml = (body: string, status = 200): Response =>
  HttpResponse.text(body, { status, headers: { 'content-type': 'text/xml;charset=UTF-8' } })

export const refusal = (code: string, status: number): Response =>
  xml(
    `<?xml version="1.0"?>\n<Response><Errors><Error><Code>${code}</Code><Message>m</Message></Error></Errors><RequestID>r</RequestID></Response>`,
    status,
  )

/** Answers each question by what it asks for; the questions are kept. */
export function ec2(reply: (asked: URLSearchParams, count: number) => Response | Promise<Response>) {
  const asked: URLSearchParams[] = []
  const handler = http.post(`${EC2_ENDPOINT}/`, async ({ request }) => {
    const parameters = new URLSearchParams(await request.text())
    asked.push(parameters)
    return reply(parameters, asked.length)
  })
  return { asked, handler }
}

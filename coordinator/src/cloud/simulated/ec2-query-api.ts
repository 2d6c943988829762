import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { AppError } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import type { CatalogPool } from './catalog.ts'
import { REGION } from './catalog.ts'
import { errorXml, historyXml } from './ec2-answers.ts'
import { Ec2Refusal } from './ec2-refusal.ts'
import type { SimulatedMarket } from './market.ts'
import { checkSignature } from './signature-check.ts'
import type { SimulatedRoles } from './simulated-roles.ts'
import { findPriceHistory } from './spot-price-history.ts'

/** No request is longer. */
const MAX_BODY = 64 * 1024

/**
 * The EC2 Query API of the simulated region, on the real wire: signed form posts, XML, pages. It knows
 * DescribeSpotPriceHistory and serves the simulated market's prices, so agents of the demo ask as they ask EC2.
 */
export interface Ec2QueryApi {
  readonly endpoint: string
  /** Answers with this error, such as `UnauthorizedOperation`, until `times` answers have, or for ever; undefined ends it. */
  refuse(code: string | undefined, status?: number, times?: number): void
  /** How many calls were answered with prices. */
  readonly answered: number
  close(): Promise<void>
}

export async function startEc2QueryApi(parts: {
  readonly market: SimulatedMarket
  readonly pools: readonly CatalogPool[]
  readonly roles: SimulatedRoles
  readonly clock: Clock
}): Promise<Ec2QueryApi> {
  const { market, pools, roles, clock } = parts
  let refusal: { readonly code: string; readonly status: number; left: number } | undefined
  let answered = 0

  function takeRefusal(): Ec2Refusal | undefined {
    if (!refusal) return undefined
    const { code, status } = refusal
    refusal.left -= 1
    if (refusal.left <= 0) refusal = undefined
    return new Ec2Refusal(code, status, 'the simulation was told to say so')
  }

  /** @throws Ec2Refusal */
  function answer(request: IncomingMessage, body: string): string {
    if (request.method !== 'POST' || request.url !== '/')
      throw new Ec2Refusal('InvalidAction', 400, 'only POST / is understood')
    const problem = checkSignature(
      { headers: request.headers, body },
      { region: REGION, service: 'ec2' },
      roles,
      clock.now(),
    )
    if (problem === 'RequestExpired') throw new Ec2Refusal(problem, 400, 'Request has expired.')
    if (problem)
      throw new Ec2Refusal(problem, 401, 'AWS was not able to validate the provided access credentials')
    const told = takeRefusal()
    if (told) throw told
    const form = new URLSearchParams(body)
    if (form.get('Action') !== 'DescribeSpotPriceHistory')
      throw new Ec2Refusal(
        'InvalidAction',
        400,
        `The action ${form.get('Action')} is not valid for this web service.`,
      )
    if (form.get('DryRun') === 'true')
      throw new Ec2Refusal('DryRunOperation', 412, 'Request would have succeeded, but DryRun flag is set.')
    const page = findPriceHistory(form, pools, market.history, clock.now())
    answered += 1
    return historyXml(page)
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      send(response, 200, answer(request, await readBody(request)))
    } catch (error) {
      if (!(error instanceof Ec2Refusal)) throw error
      send(response, error.status, errorXml(error))
    }
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  return {
    endpoint: `http://127.0.0.1:${port}`,
    refuse(code, status = 400, times = Number.POSITIVE_INFINITY) {
      refusal = code === undefined ? undefined : { code, status, left: times }
    },
    get answered() {
      return answered
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function send(response: ServerResponse, status: number, xml: string): void {
  response.writeHead(status, { 'content-type': 'text/xml;charset=UTF-8', server: 'AmazonEC2' })
  response.end(xml)
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > MAX_BODY) throw new AppError('payload_too_large', `the body is longer than ${MAX_BODY} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

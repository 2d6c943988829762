import { HttpResponse, http } from 'msw'

/** The metadata service and EC2 as tests answer for them, with msw. */

export const IMDS = 'http://169.254.169.254'
export const EC2 = 'https://ec2.us-east-1.amazonaws.com/'

export const roleDocument = (change: Readonly<Record<string, unknown>> = {}) =>
  JSON.stringify({
    Code: 'Success',
    LastUpdated: '2023-11-14T22:00:00Z',
    Type: 'AWS-HMAC',
    AccessKeyId: 'ASIAEXAMPLE',
    SecretAccessKey: 'secret-of-the-role',
    Token: 'token-of-the-session',
    Expiration: '2023-11-15T04:00:00Z',
    ...change,
  })

export const defaultItems: Readonly<Record<string, string>> = {
  'meta-data/placement/region': 'us-east-1',
  'meta-data/instance-type': 'c5.large',
  'meta-data/iam/security-credentials': 'agent-role',
  'meta-data/iam/security-credentials/agent-role': roleDocument(),
}

/** Handlers of a metadata service; what is changed in `items` later counts too. */
export const imdsHandlers = (items: Readonly<Record<string, string | undefined>>, asked: string[] = []) => [
  http.put(`${IMDS}/latest/api/token`, () => HttpResponse.text('a-token')),
  http.get(`${IMDS}/latest/*`, ({ request }) => {
    const path = new URL(request.url).pathname.replace('/latest/', '')
    asked.push(path)
    const item = items[path]
    return item === undefined ? new HttpResponse(null, { status: 404 }) : HttpResponse.text(item)
  }),
]

export interface PriceRow {
  readonly type?: string
  readonly zone?: string
  readonly price: string
  readonly at?: string
  readonly product?: string
}

const toItem = ({
  type = 'c5.large',
  zone = 'us-east-1a',
  price,
  at = '2023-11-14T20:56:05.000Z',
  product = 'Linux/UNIX',
}: PriceRow) =>
  `<item><instanceType>${type}</instanceType><productDescription>${product}</productDescription><spotPrice>${price}</spotPrice><timestamp>${at}</timestamp><availabilityZone>${zone}</availabilityZone></item>`

/** One page as EC2 writes it. */
export const pageOf = (
  rows: readonly PriceRow[],
  nextToken = '',
): string => `<?xml version="1.0" encoding="UTF-8"?>
<DescribeSpotPriceHistoryResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>
    <spotPriceHistorySet>${rows.map(toItem).join('')}</spotPriceHistorySet>
    ${nextToken === '' ? '<nextToken/>' : `<nextToken>${nextToken}</nextToken>`}
</DescribeSpotPriceHistoryResponse>`

export const refusalOf = (code: string, status = 400, headers: Readonly<Record<string, string>> = {}) =>
  HttpResponse.xml(
    `<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>${code}</Code><Message>said by EC2</Message></Error></Errors><RequestID>ea966190</RequestID></Response>`,
    { status, headers },
  )

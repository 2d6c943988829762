import { createHash, createHmac } from 'node:crypto'
import type { Instant } from '@understudy/shared/core/time'

/**
 * Signature Version 4 for requests to the root of a host, without a query: all that the Query APIs of AWS need.
 * Source: "Create a signed AWS API request" in the IAM User Guide.
 */

export interface AwsCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Temporary credentials only. */
  readonly sessionToken?: string | undefined
}

export interface UnsignedRequest {
  readonly method: 'GET' | 'POST'
  /** With its port, where it has one of its own. */
  readonly host: string
  /** Every one of them is signed. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface SigningScope {
  readonly region: string
  readonly service: string
}

const ALGORITHM = 'AWS4-HMAC-SHA256'

/** The headers that make a request a signed one, to be sent beside its own. `at` is the time of AWS. */
export function signV4(
  request: UnsignedRequest,
  credentials: AwsCredentials,
  { region, service }: SigningScope,
  at: Instant,
): Record<string, string> {
  const date = new Date(at).toISOString().replace(/[-:]|\.\d+/g, '')
  const added: Record<string, string> = {
    'x-amz-date': date,
    ...(credentials.sessionToken === undefined ? {} : { 'x-amz-security-token': credentials.sessionToken }),
  }
  const headers = canonicalHeaders({ host: request.host, ...request.headers, ...added })
  const names = headers.map(([name]) => name).join(';')
  const canonical = [
    request.method,
    '/',
    '',
    ...headers.map(([name, value]) => `${name}:${value}`),
    '',
    names,
    sha256(request.body),
  ].join('\n')
  const scope = [date.slice(0, 8), region, service, 'aws4_request']
  const key = scope.reduce<string | Buffer>(hmac, `AWS4${credentials.secretAccessKey}`)
  const signature = createHmac('sha256', key)
    .update([ALGORITHM, date, scope.join('/'), sha256(canonical)].join('\n'))
    .digest('hex')
  return {
    ...added,
    authorization: `${ALGORITHM} Credential=${[credentials.accessKeyId, ...scope].join('/')}, SignedHeaders=${names}, Signature=${signature}`,
  }
}

/** By name, as they are compared: lower case, without spaces at the ends, one space for several. */
const canonicalHeaders = (headers: Readonly<Record<string, string>>): [string, string][] =>
  Object.entries(headers)
    .map(([name, value]): [string, string] => [name.toLowerCase(), value.trim().replace(/ +/g, ' ')])
    .sort(([a], [b]) => (a < b ? -1 : 1))

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

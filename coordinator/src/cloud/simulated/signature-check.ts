import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { type Instant, instant, minutes } from '@understudy/shared/core/time'
import type { SimulatedRoles } from './simulated-roles.ts'

/** A request is taken for this long before and after the time that it names. */
const TOLERANCE = minutes(5)

/** As EC2 says it: `AuthFailure` for what is not believed, `RequestExpired` for what is too old or too early. */
export type SignatureProblem = 'MissingAuthenticationToken' | 'AuthFailure' | 'RequestExpired'

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)\/(\d{8})\/([a-z0-9-]+)\/([a-z0-9]+)\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/

/** Checks Signature Version 4 of a POST to the root. undefined when it is good. */
export function checkSignature(
  request: { readonly headers: IncomingHttpHeaders; readonly body: string },
  scope: { readonly region: string; readonly service: string },
  roles: SimulatedRoles,
  now: Instant,
): SignatureProblem | undefined {
  const { headers, body } = request
  const match = AUTHORIZATION.exec(headers.authorization ?? '')
  if (!match) return headers.authorization === undefined ? 'MissingAuthenticationToken' : 'AuthFailure'
  const [, accessKeyId = '', day = '', region = '', service = '', names = '', signature = ''] = match
  const keys = roles.find(accessKeyId)
  const date = one(headers['x-amz-date'])
  if (!keys || region !== scope.region || service !== scope.service || !date.startsWith(day))
    return 'AuthFailure'
  if (one(headers['x-amz-security-token']) !== keys.sessionToken) return 'AuthFailure'
  const needed = ['host', 'x-amz-date', ...(keys.sessionToken === '' ? [] : ['x-amz-security-token'])]
  if (!needed.every((name) => names.split(';').includes(name))) return 'AuthFailure'
  const text = [
    'AWS4-HMAC-SHA256',
    date,
    `${day}/${region}/${service}/aws4_request`,
    canonicalHash(headers, names, body),
  ]
  const key = [day, region, service, 'aws4_request'].reduce<string | Buffer>(
    hmac,
    `AWS4${keys.secretAccessKey}`,
  )
  if (!timingSafeEqual(hmac(key, text.join('\n')), Buffer.from(signature, 'hex'))) return 'AuthFailure'
  const at = parseDate(date)
  if (at === undefined || Math.abs(now - at) > TOLERANCE || now > keys.ends) return 'RequestExpired'
  return undefined
}

const canonicalHash = (headers: IncomingHttpHeaders, names: string, body: string): string =>
  sha256(
    [
      'POST',
      '/',
      '',
      ...names.split(';').map((name) => `${name}:${one(headers[name]).trim().replace(/ +/g, ' ')}`),
      '',
      names,
      sha256(body),
    ].join('\n'),
  )

function parseDate(text: string): Instant | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text)
  if (!match) return undefined
  const [year = 0, month = 0, day, hour, minute, second] = match.slice(1).map(Number)
  return instant(Date.UTC(year, month - 1, day, hour, minute, second))
}

const one = (header: string | string[] | undefined): string =>
  Array.isArray(header) ? header.join(',') : (header ?? '')
const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

import { instant } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { signV4, type UnsignedRequest } from './sigv4.ts'

/** The vectors of AWS's signing test suite (awslabs/aws-c-auth, aws-signing-test-suite/v4) whose path is `/`. */
const AT = instant(Date.parse('2015-08-30T12:36:00Z'))
const SCOPE = { region: 'us-east-1', service: 'service' }
const KEY = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }
const FORM_SHA256 = '9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e'
const STS_TOKEN =
  'AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=='

interface Vector {
  readonly name: string
  readonly method: UnsignedRequest['method']
  readonly headers?: Record<string, string>
  readonly body?: string
  readonly token?: string
  readonly signed: string
  readonly signature: string
}

const vectors: readonly Vector[] = [
  {
    name: 'get-vanilla-with-session-token',
    method: 'GET',
    token: '6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267',
    signed: 'host;x-amz-date;x-amz-security-token',
    signature: '07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8',
  },
  {
    name: 'get-header-value-trim',
    method: 'GET',
    headers: { 'My-Header1': ' value1', 'My-Header2': ' "a   b   c"' },
    signed: 'host;my-header1;my-header2;x-amz-date',
    signature: 'acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736',
  },
  {
    name: 'post-header-key-sort',
    method: 'POST',
    headers: { 'My-Header1': 'value1' },
    signed: 'host;my-header1;x-amz-date',
    signature: 'c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c',
  },
  {
    name: 'post-sts-header-before',
    method: 'POST',
    token: STS_TOKEN,
    signed: 'host;x-amz-date;x-amz-security-token',
    signature: '85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead',
  },
  {
    name: 'post-x-www-form-urlencoded',
    method: 'POST',
    headers: {
      'Content-Type': 'application/x-www-form-urlencoded',
      'Content-Length': '13',
      'x-amz-content-sha256': FORM_SHA256,
    },
    body: 'Param1=value1',
    signed: 'content-length;content-type;host;x-amz-content-sha256;x-amz-date',
    signature: 'd3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b',
  },
  {
    name: 'post-x-www-form-urlencoded-parameters',
    method: 'POST',
    headers: {
      'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8',
      'Content-Length': '13',
      'x-amz-content-sha256': FORM_SHA256,
    },
    body: 'Param1=value1',
    signed: 'content-length;content-type;host;x-amz-content-sha256;x-amz-date',
    signature: '328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422',
  },
]

test.each(vectors)('$name', ({ method, headers = {}, body = '', token, signed, signature }) => {
  const request = { method, host: 'example.amazonaws.com', headers, body }
  expect(signV4(request, { ...KEY, sessionToken: token }, SCOPE, AT)).toEqual({
    'x-amz-date': '20150830T123600Z',
    ...(token === undefined ? {} : { 'x-amz-security-token': token }),
    authorization: `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=${signed}, Signature=${signature}`,
  })
})

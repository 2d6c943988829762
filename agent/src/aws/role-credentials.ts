import { AppError } from '@understudy/shared/core/app-error'
import {
  between,
  type Clock,
  type Instant,
  instant,
  type Mono,
  minutes,
  seconds,
} from '@understudy/shared/core/time'
import { z } from 'zod'
import type { ImdsClient } from '../imds/imds-client.ts'
import type { AwsCredentials } from './sigv4.ts'

/** EC2 has new credentials at least five minutes before the old ones end. */
const REFRESH_BEFORE = minutes(5)
/** The metadata service is not asked more often, whatever it answers. */
const READ_AT_MOST_EVERY = seconds(20)
const PATH = 'meta-data/iam/security-credentials'

/** The temporary credentials of the role of this instance. They are in memory only. */
export interface RoleCredentials {
  /** The name of the role, once it is known. */
  readonly role: string | undefined
  /**
   * What to sign with; `now` is the time of AWS, as far as it is known.
   * @throws AppError `forbidden` without a role, `unauthenticated` while it has no credentials, and those of the metadata service
   */
  current(now: Instant, signal?: AbortSignal): Promise<AwsCredentials>
  /** They were refused: the next call reads them anew. */
  forget(): void
}

const visible = z.string().regex(/^[\x21-\x7e]{1,16384}$/, 'must be printable characters')
const documentSchema = z.object({
  Code: z.literal('Success'),
  AccessKeyId: visible,
  SecretAccessKey: visible,
  Token: visible,
  Expiration: z.iso.datetime({ offset: true }),
})

interface Held {
  readonly credentials: AwsCredentials
  readonly ends: Instant
  readonly readAt: Mono
}

export function createRoleCredentials(imds: ImdsClient, clock: Clock): RoleCredentials {
  let role: string | undefined
  let held: Held | undefined

  async function read(signal: AbortSignal | undefined): Promise<Held> {
    const list = await imds.get(PATH, signal)
    const name = list?.trim().split(/\s+/)[0]
    if (!name || !/^[\w+=,.@-]{1,64}$/.test(name)) throw noRole()
    role = name
    const document = documentSchema.safeParse(parseJson(await imds.get(`${PATH}/${name}`, signal)))
    if (!document.success) throw noCredentials(name)
    const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Token, Expiration } = document.data
    return {
      credentials: { accessKeyId, secretAccessKey, sessionToken: Token },
      ends: instant(Date.parse(Expiration)),
      readAt: clock.mono(),
    }
  }

  const isFresh = ({ ends, readAt }: Held, now: Instant): boolean =>
    between(now, ends) > REFRESH_BEFORE || between(readAt, clock.mono()) < READ_AT_MOST_EVERY

  return {
    get role() {
      return role
    },
    async current(now, signal) {
      if (held && isFresh(held, now)) return held.credentials
      const before = held
      const next = await read(signal).catch((error: unknown) => {
        if (before && between(now, before.ends) > 0) return before
        throw error
      })
      held = next
      return next.credentials
    },
    forget() {
      held = undefined
    },
  }
}

const noRole = (): AppError =>
  new AppError('forbidden', 'this instance has no IAM role, so it cannot ask EC2 for prices', {
    hint: 'Attach an instance profile with a role that allows ec2:DescribeSpotPriceHistory, or set price_sampling: false.',
  })

const noCredentials = (role: string): AppError =>
  new AppError('unauthenticated', `the metadata service has no credentials of the role ${role}`, {
    hint: 'Check that the role exists and that ec2.amazonaws.com may assume it; a new one takes some seconds.',
    retryable: true,
  })

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}

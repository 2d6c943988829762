import { randomBytes } from 'node:crypto'
import { type Clock, hours, type Instant, instant, minutes, plus } from '@understudy/shared/core/time'

/** What a role may do is the same for every instance of the simulated region. */
export const ROLE_NAME = 'understudy-agent'

const LIFE = hours(6)
/** New ones are there this long before the old ones end. */
const OVERLAP = minutes(10)

export interface RoleKeys {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** '' for keys that last. */
  readonly sessionToken: string
  readonly issued: Instant
  readonly ends: Instant
}

/** Temporary credentials, as the security token service gives them to instances. */
export interface SimulatedRoles {
  /** Those of today; the same until they are about to end. */
  keysOf(holder: string): RoleKeys
  /** Keys of a user of the account, which do not end and have no session token. */
  readonly accountKeys: RoleKeys
  /** By the key id of a request; also after their end. */
  find(accessKeyId: string): RoleKeys | undefined
  /** `meta-data/iam/security-credentials/<role>`, as it stands there now. */
  documentOf(holder: string): string
}

export function createSimulatedRoles(clock: Clock): SimulatedRoles {
  const current = new Map<string, RoleKeys>()
  const accountKeys: RoleKeys = {
    accessKeyId: `AKIA${randomBytes(8).toString('hex').toUpperCase()}`,
    secretAccessKey: randomBytes(30).toString('base64'),
    sessionToken: '',
    issued: clock.now(),
    ends: instant(Number.POSITIVE_INFINITY),
  }
  const known = new Map<string, RoleKeys>([[accountKeys.accessKeyId, accountKeys]])

  function keysOf(holder: string): RoleKeys {
    const held = current.get(holder)
    if (held && plus(clock.now(), OVERLAP) < held.ends) return held
    const keys: RoleKeys = {
      accessKeyId: `ASIA${randomBytes(8).toString('hex').toUpperCase()}`,
      secretAccessKey: randomBytes(30).toString('base64'),
      sessionToken: randomBytes(120).toString('base64'),
      issued: clock.now(),
      ends: plus(clock.now(), LIFE),
    }
    current.set(holder, keys)
    known.set(keys.accessKeyId, keys)
    return keys
  }

  return {
    keysOf,
    accountKeys,
    find: (accessKeyId) => known.get(accessKeyId),
    documentOf(holder) {
      const { accessKeyId, secretAccessKey, sessionToken, issued, ends } = keysOf(holder)
      return JSON.stringify(
        {
          Code: 'Success',
          LastUpdated: seconds(issued),
          Type: 'AWS-HMAC',
          AccessKeyId: accessKeyId,
          SecretAccessKey: secretAccessKey,
          Token: sessionToken,
          Expiration: seconds(ends),
        },
        null,
        2,
      )
    },
  }
}

const seconds = (time: Instant): string => new Date(time).toISOString().replace(/\.\d+Z$/, 'Z')

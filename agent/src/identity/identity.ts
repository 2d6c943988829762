import type { KeyObject } from 'node:crypto'
import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { Random } from '@understudy/shared/core/random'
import { type Service, untilAborted } from '@understudy/shared/core/service'
import { between, type Clock, type Millis, millis, minutes, seconds } from '@understudy/shared/core/time'
import type {
  CertificateIssued,
  CertificateRefusal,
  CertificateRequest,
  Degradation,
} from '@understudy/shared/protocol/link'
import type { MemberIdentity } from '@understudy/shared/protocol/member-identity'
import type { Logger } from 'pino'
import {
  type CheckedCredentials,
  type Credentials,
  checkCredentials,
  isRunningOut,
  isValidAt,
  newKey,
  renewalOf,
  toRequest,
} from './credentials.ts'
import { readCredentials, saveCredentials } from './identity-file.ts'

export type { Credentials } from './credentials.ts'
export { describeCredentials } from './identity-file.ts'
export { asPeerError, clientTls, listeningTls, peerOf, serverTls } from './peer-tls.ts'

/** A request that is not answered, or refused, is made again after this and up to the jitter more. */
const RETRY_AFTER = seconds(2)
const RETRY_JITTER: BackoffPolicy = { base: seconds(4), cap: minutes(5) }
/** The wall clock may be set, so a far moment is looked at again on the way. */
const LOOK_AGAIN = minutes(10)
/** A first certificate comes within milliseconds of the first connection; before this it is not worth a word. */
const GRACE = seconds(5)

/** Who this instance is to its peers, as the state stream needs it. */
export interface PeerIdentity {
  readonly self: MemberIdentity
  /** undefined while there is no certificate that is valid now. */
  readonly current: Credentials | undefined
  /** Called with every new certificate; returns what ends that. */
  onRenewal(listener: (credentials: Credentials) => void): () => void
}

/**
 * Keeps this instance in certificates: asks for one over the link once after each start and whenever a third of the
 * present one's lifetime has passed, and keeps it on disk, so that a restart needs no coordinator.
 */
export interface Identity extends PeerIdentity, Service {
  readonly degraded: Degradation | undefined
  /** The link is up, and asks now if there is anything to ask. */
  connected(): void
  accept(message: CertificateIssued): void
  refused(message: CertificateRefusal): void
}

export function openIdentity(parts: {
  /** The file that holds key and certificate. */
  readonly path: string
  readonly self: MemberIdentity
  /** False when the link is down. */
  readonly send: (request: CertificateRequest) => boolean
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}): Identity {
  const { path, self, clock, random, log } = parts
  const listeners = new Set<(credentials: Credentials) => void>()
  const opened = clock.mono()
  let known = readCredentials(path, self, log)
  /** What is from before the start serves until then: the authority may be another one by now. */
  let isFresh = false
  /** Of the request that has not been answered yet; the same for each repetition, so that a late answer fits. */
  let pending: KeyObject | undefined
  let attempt = 0
  let trouble: { message: string; hint?: string | undefined } | undefined
  let cancel: () => void = () => undefined
  let saving: Promise<void> = Promise.resolve()
  let ended = false

  const valid = (): CheckedCredentials | undefined =>
    known && isValidAt(known, clock.now()) ? known : undefined
  const wait = (delay: Millis) => {
    cancel()
    if (!ended) cancel = clock.timer(millis(Math.min(delay, LOOK_AGAIN)), look)
  }
  const retryAfter = () => millis(RETRY_AFTER + fullJitter(RETRY_JITTER, attempt, random))
  const untilDue = () =>
    known && isFresh ? millis(Math.max(0, between(clock.now(), renewalOf(known)))) : millis(0)

  function look(): void {
    const left = untilDue()
    if (left > 0) return wait(left)
    pending ??= newKey()
    // While the link is down nothing waits: the next welcome looks again.
    if (!parts.send(toRequest(self, pending))) return
    wait(retryAfter())
    attempt += 1
  }

  function take(message: CertificateIssued, key: KeyObject): CheckedCredentials | undefined {
    try {
      return checkCredentials(self, {
        key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
        certificate: message.certificate,
        authority: message.authority,
      })
    } catch (error) {
      trouble = { message: messageOf(error), hint: isAppError(error) ? error.hint : undefined }
      log.error({ event: 'identity.certificate_unusable', why: trouble.message })
      return undefined
    }
  }

  async function save(credentials: Credentials): Promise<void> {
    try {
      await saveCredentials(path, credentials)
    } catch (error) {
      // It is used all the same; only a restart without the coordinator would miss it.
      log.warn({ event: 'identity.not_saved', path, why: messageOf(error) })
    }
  }

  return {
    name: 'identity',
    self,
    get current() {
      return valid()
    },
    onRenewal(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    get degraded() {
      if (!valid() && !trouble && !known && between(opened, clock.mono()) < GRACE) return undefined
      return degradationOf(known, clock, trouble)
    },
    connected() {
      attempt = 0
      look()
    },
    accept(message) {
      const next = pending && take(message, pending)
      if (!next) return
      known = next
      isFresh = true
      pending = undefined
      trouble = undefined
      log.info({ event: 'identity.certificate', until: new Date(next.notAfter).toISOString() })
      // A clock that is far off makes every certificate look expired; asking more often does not help.
      if (valid()) attempt = 0
      wait(attempt > 0 ? millis(Math.max(untilDue(), retryAfter())) : untilDue())
      for (const listener of listeners) listener(next)
      saving = saving.then(() => save(next))
    },
    refused({ code, message, hint }) {
      trouble = { message, hint }
      log.warn({ event: 'identity.refused', code, why: message, hint })
    },
    async run(signal) {
      await untilAborted(signal)
      ended = true
      cancel()
      await saving
    },
  }
}

/** What is wrong with the certificate, and what to do; undefined when nothing is. */
function degradationOf(
  known: CheckedCredentials | undefined,
  clock: Clock,
  trouble: { message: string; hint?: string | undefined } | undefined,
): Degradation | undefined {
  const now = clock.now()
  const because = trouble ? `: ${trouble.message}` : ''
  const say = (code: string, message: string, hint: string): Degradation => ({
    code,
    message: `${message}${because}`.slice(0, 500),
    hint: (trouble?.hint ?? hint).slice(0, 500),
  })
  if (!known)
    return say(
      'certificate_missing',
      'this instance has no certificate, so no state can be streamed to it or from it',
      'It comes over the link within a second: see whether the coordinator can be reached.',
    )
  const until = new Date(known.notAfter).toISOString()
  if (now < known.notBefore)
    return say(
      'certificate_not_yet_valid',
      `the certificate of this instance is valid from ${new Date(known.notBefore).toISOString()}, which is later than its clock`,
      'Set the clock of this instance (chrony, or Amazon Time Sync).',
    )
  if (now >= known.notAfter)
    return say(
      'certificate_expired',
      `the certificate of this instance has expired on ${until}, so no new stream can begin`,
      'It is renewed over the link: see whether the coordinator can be reached, and whether the clock here is right.',
    )
  if (isRunningOut(known, now) || trouble)
    return say(
      'certificate_expiring',
      `the certificate of this instance ends on ${until} and has not been renewed`,
      'It is renewed over the link: see whether the coordinator can be reached. Until then everything goes on.',
    )
  return undefined
}

import type { IncidentId, InstanceId } from '../../core/ids.ts'
import type { Certificate, VoterId } from '../../failover/certificate.ts'
import { isElected, kindOfChange } from '../../failover/certificate.ts'

/** What the records say of one incident. */
export interface ToldIncident {
  readonly id: IncidentId
  readonly instance: InstanceId
  readonly openedAt: number
  closedAt: number | undefined
}

/**
 * Stands outside of the protocol and knows everything: what every instance does at one moment, every certificate that
 * was ever made, and what was promised to clients.
 */
export interface Judge {
  readonly violations: string[]
  readonly certificates: ReadonlyMap<string, Certificate>
  violate(text: string): void
  /** I1: one owner per epoch, by enough votes of those who may vote. */
  certified(certificate: Certificate): void
  /** I9: recorded once, and never differently. */
  recorded(certificate: Certificate, incident: IncidentId | undefined): void
  /** I3: what somebody believes never goes back. */
  sawEpoch(who: string, epoch: number): void
  /** A client was told that everything up to `data` is on the replicas that count. */
  committed(data: number): void
  /** I7, I8: what the new primary of an epoch begins with, and what the one before it had. */
  /** `had` is what the old primary had, `best` the most that any machine which is left has. */
  tookOver(certificate: Certificate, data: number, had: number, best: number): void
  released(epoch: number, target: InstanceId, data: number): void
  /** I9: an epoch that is missing on the way from the newest certificate of the coordinator back to the first. */
  unrecorded(newest: Certificate | undefined, isRecorded: (digest: string) => boolean): number | undefined
  /** I12, at the end: whatever was lost is in an incident that was opened, and not closed before. */
  checkLosses(opened: readonly ToldIncident[]): void
}

export function createJudge(
  seed: number,
  now: () => number,
  note: (text: string) => void,
  hit: (what: string, which: string) => void,
  /** Its machine has ended, or it never acts in this epoch again. */
  isOut: (instance: InstanceId, epoch: number) => boolean,
): Judge {
  const violations: string[] = []
  const certificates = new Map<string, Certificate>()
  const byEpoch = new Map<number, string>()
  const recordedAt = new Map<number, string>()
  const incidents = new Map<string, IncidentId | undefined>()
  const losses = new Map<string, { lost: number; old: InstanceId }>()
  const epochs = new Map<string, number>()
  const releases = new Map<number, { target: InstanceId; data: number }>()
  let promised = 0
  let wasForced = false
  const madeAt = new Map<string, number>()

  const violate = (text: string) => {
    note(`VIOLATION ${text}`)
    violations.push(`seed ${seed} at ${now().toFixed(0)} ms: ${text}`)
  }

  /** G3: nobody is passed over who may still act: the others have ended, have resigned, or have agreed. */
  function checkForced({ proposal }: Certificate, base: Certificate, voters: ReadonlySet<VoterId>): void {
    const others = [base.proposal.primary, base.proposal.successor].filter((id) => id !== null)
    hit('forced', others.some((id) => voters.has(id)) ? 'with consent' : 'on evidence')
    for (const id of others)
      if (!voters.has(id) && !isOut(id, base.proposal.epoch))
        violate(`G3: epoch ${proposal.epoch} was forced, and nobody knows that ${id} has ended`)
  }

  return {
    violations,
    certificates,
    violate,
    certified(certificate) {
      const { digest, proposal, votes } = certificate
      if (certificates.has(digest)) return
      const other = byEpoch.get(proposal.epoch)
      if (other !== undefined && other !== digest) violate(`I1: epoch ${proposal.epoch} has two owners`)
      byEpoch.set(proposal.epoch, digest)
      const base = certificates.get(proposal.previous.digest)
      if (proposal.previous.epoch > 0 && !base)
        violate(`I9: epoch ${proposal.epoch} follows what nobody made`)
      const voters = new Set<VoterId>(votes.map(({ voter }) => voter))
      const kind = kindOfChange(proposal, base)
      hit('change', kind ?? 'of no kind')
      if (kind === undefined || !isElected(proposal, base, voters))
        violate(`I1: epoch ${proposal.epoch} has not enough votes: ${[...voters].join(', ')}`)
      if (kind === 'forced' && base) checkForced(certificate, base, voters)
      certificates.set(digest, certificate)
      madeAt.set(digest, now())
      if (proposal.forced || !base) wasForced = true
    },
    recorded({ proposal, digest }, incident) {
      if (!incidents.has(digest)) incidents.set(digest, incident)
      const known = recordedAt.get(proposal.epoch)
      if (known !== undefined && known !== digest) violate(`I9: epoch ${proposal.epoch} is recorded twice`)
      recordedAt.set(proposal.epoch, digest)
    },
    sawEpoch(who, epoch) {
      const before = epochs.get(who) ?? 0
      if (epoch < before) violate(`I3: ${who} went back from epoch ${before} to ${epoch}`)
      else epochs.set(who, epoch)
    },
    committed(data) {
      promised = Math.max(promised, data)
    },
    released(epoch, target, data) {
      releases.set(epoch, { target, data })
    },
    tookOver({ proposal, digest, votes }, data, had, best) {
      const { epoch, primary: instance, previous } = proposal
      const old = certificates.get(previous.digest)?.proposal.primary
      const agreed = votes.some(({ voter }) => voter === old)
      if (old !== undefined && old !== instance && !agreed && data < had)
        losses.set(digest, { lost: had - data, old })
      const release = releases.get(epoch)
      if (release?.target === instance && data < release.data)
        violate(`I8: ${instance} took over with ${data} of ${release.data} that were sealed`)
      // Who was forced in may have less, and the incident says so.
      // What only machines had that have ended, nobody can bring back.
      if (wasForced || best < promised) promised = Math.min(promised, data)
      else if (data < promised) violate(`I7: ${instance} took over with ${data} of ${promised} committed`)
      wasForced = false
    },
    checkLosses(opened) {
      for (const [digest, { lost, old }] of losses) {
        const at = madeAt.get(digest) ?? 0
        // One that was over before says nothing of it. One that was open then does, whomever it began with: its certificate may
        // be recorded late, or never when all who knew of it have ended, and it goes on until somebody serves.
        const isSaid = opened.some(
          ({ id, instance, openedAt, closedAt = at }) =>
            id === incidents.get(digest) || (closedAt >= at && (openedAt <= at || instance === old)),
        )
        // What was made a moment ago may still be on its way.
        if (!isSaid && now() - at > 1500)
          violate(`I12: ${old} had ${lost} more than its heir, and no incident says so`)
      }
    },
    unrecorded(newest, isRecorded) {
      for (let at = newest; at; at = certificates.get(at.proposal.previous.digest))
        if (!isRecorded(at.digest)) return at.proposal.epoch
      return undefined
    },
  }
}

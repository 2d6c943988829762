import type { AgentId, IncidentId, InstanceId } from '@understudy/shared/core/ids'
import { between, type Clock, type Mono, seconds } from '@understudy/shared/core/time'
import type { Certificate } from '@understudy/shared/failover/certificate'
import type { ElectionExtras, VoterMessage } from '@understudy/shared/failover/voter'
import type { Hello, Report } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import type { Incidents } from '../fleet/fleet.ts'
import type { Voting } from '../identity/identity.ts'
import { noteHeard, noteSealed } from './flight.ts'
import type { PresenceBook } from './presence.ts'
import type { Entry, Registry } from './registry.ts'

/** What is refused is logged once in this time for each instance. */
const LOG_AGAIN = seconds(60)

/** What members say as voters: on their own sockets, in greetings and in reports. All of it is checked here. */
export interface VoterEvents {
  /** Says something to a voter, and before it what it would need to believe it. */
  tell(agentId: AgentId, instance: InstanceId, message: VoterMessage): void
  /** The voter's socket is open: it is told what it may have missed. */
  onVoterOpen(agentId: AgentId, instance: InstanceId): void
  onVoterMessage(agentId: AgentId, instance: InstanceId, message: VoterMessage): void
  /** The greeting of a member. It is welcomed as soon as it is clear what it remembers of us. */
  onGreeting(entry: Entry, instance: InstanceId, hello: Hello, welcome: () => void): void
  onCertified(entry: Entry, instance: InstanceId, report: Report & { kind: 'certified' }): void
  /** Members know a move that they made without us by an id of their own. */
  nameIncident(entry: Entry, id: IncidentId): void
  /** False when the vote in it is not believed. */
  isGenuine(entry: Entry, instance: InstanceId, report: Report & { kind: 'released' }): boolean
}

export function createVoterEvents(parts: {
  readonly registry: Registry
  readonly presence: PresenceBook
  readonly incidents: Incidents
  readonly voting: Voting
  readonly clock: Clock
  readonly log: Logger
  readonly send: (instance: InstanceId, message: VoterMessage) => void
}): VoterEvents {
  const { registry, presence, incidents, voting, clock, log, send } = parts
  const logged = new Map<InstanceId, Mono>()
  /** The epoch that each member was last in. */
  const epochs = new Map<InstanceId, number>()

  function tell(agentId: AgentId, instance: InstanceId, message: VoterMessage): void {
    const news = 'certificate' in message ? message.certificate : 'base' in message ? message.base : null
    const heard = registry.find(agentId)?.heard
    if (news) heard?.remember([news])
    const missed = (news && heard?.between(epochs.get(instance) ?? 0, news)) ?? []
    for (const certificate of missed) send(instance, { kind: 'certificate', certificate })
    send(instance, message)
  }

  function refuse(agent: AgentId, instance: InstanceId, what: string, why: string): void {
    const now = clock.mono()
    const last = logged.get(instance)
    if (last !== undefined && between(last, now) < LOG_AGAIN) return
    logged.set(instance, now)
    log.warn({ event: 'voter.refused', agent, instance, what, why })
  }

  /** Whoever has greeted on its link is heard; before that nobody knows which agent this is about. */
  function entryOf(agentId: AgentId, instance: InstanceId): Entry | undefined {
    const entry = registry.find(agentId)
    const isKnown = presence.get(instance)?.agentId === agentId && entry?.runner.group.members.has(instance)
    return entry && isKnown && !isWaiting(entry, instance) ? entry : undefined
  }

  const isWaiting = ({ predecessor }: Entry, instance: InstanceId): boolean =>
    predecessor !== undefined && predecessor.instance !== instance

  function connect(entry: Entry, instance: InstanceId, hello: Hello, chain: readonly Certificate[]): void {
    const { role, epoch, sentAt, voter } = hello
    const { key, voted, resigned } = voter
    epochs.set(instance, chain.at(-1)?.proposal.epoch ?? 0)
    entry.runner.dispatch({ kind: 'connected', instance, role, epoch, sentAt, key, chain, voted, resigned })
  }

  /** What a member knows shows that our database is older than what was decided with it. */
  function compare(
    entry: Entry,
    instance: InstanceId,
    chain: readonly Certificate[],
    voter?: Hello['voter'],
  ): void {
    const { runner, heard, agentId } = entry
    const forgotten = chain.findLast((certificate) => heard.isForgotten(certificate, runner.group))
    const told = voter ? voting.compare(voter.coordinatorStart, voter.coordinatorStartProof) : 'known'
    if (told === 'unproven')
      refuse(agentId, instance, 'coordinatorStart', 'no coordinator with our key has told it that number')
    if (!forgotten && told !== 'outdated') return
    const start = told === 'outdated' ? (voter?.coordinatorStart ?? 0) : 0
    log.error({
      event: 'failover.database_outdated',
      agent: agentId,
      instance,
      voted: forgotten?.proposal.epoch,
      hint: 'An agent has spoken to a coordinator with a newer database than this one: it was restored from a backup, or is a copy. This coordinator votes on no agent before each of its instances has told what it knows, or has ended. Check that no other coordinator runs; incidents since the backup are missing.',
    })
    registry.outdated(start)
  }

  function nameIncident({ runner }: Entry, id: IncidentId): void {
    const flight = runner.flight ?? runner.told
    if (flight?.elsewhere) incidents.alsoKnownAs(flight.incident.id, id)
  }

  /** The certificate may come before the old primary's own word of its vote, and that one never. */
  function noteRelease(
    { runner }: Entry,
    { proposal, votes }: Certificate,
    { left, planned }: ElectionExtras,
  ): void {
    const flight = runner.flight ?? runner.told
    if (!flight || !votes.some(({ voter }) => voter === flight.incident.instance)) return
    if (left && noteSealed(flight, proposal, left) && flight.left)
      incidents.lossTold(flight.incident.id, flight.left)
    const { elsewhere, incident } = flight
    const isNoticed = runner.group.members.get(incident.instance)?.noticedBy !== undefined
    if (planned && elsewhere && incident.trigger === 'notice' && !isNoticed) runner.wasPlanned(flight)
  }

  return {
    tell,
    onVoterOpen(agentId, instance) {
      const entry = entryOf(agentId, instance)
      const phase = entry?.runner.group.phase
      if (phase?.kind === 'promoting' && phase.target === instance && phase.offer)
        tell(agentId, instance, phase.offer)
    },
    onVoterMessage(agentId, instance, message) {
      const entry = entryOf(agentId, instance)
      if (!entry) return
      const { runner, heard } = entry
      if (message.kind === 'beat') {
        noteHeard(runner.flight, instance, runner.group.primary, clock.mono())
        const { epoch, sentAt, hears, office } = message
        epochs.set(instance, epoch)
        return runner.dispatch({ kind: 'beat', instance, epoch, sentAt, hears, office })
      }
      const why = heard.doubtMessage(instance, message, runner.group)
      if (why !== undefined) return refuse(agentId, instance, message.kind, why)
      if ('certificate' in message && message.certificate) compare(entry, instance, [message.certificate])
      runner.dispatch({ kind: 'voter', instance, message })
    },
    onGreeting(entry, instance, hello, welcome) {
      const { predecessor } = entry
      const { chain, why } = entry.heard.believed(hello.voter.chain, entry.runner.group)
      if (why !== undefined) refuse(entry.agentId, instance, 'certificate', why)
      compare(entry, instance, chain, hello.voter)
      welcome()
      if (predecessor && predecessor.instance !== instance)
        return void predecessor.waiting.push(() => {
          if (presence.get(instance)?.hello === hello) connect(entry, instance, hello, chain)
        })
      entry.predecessor = undefined
      connect(entry, instance, hello, chain)
      for (const greet of predecessor?.waiting ?? []) greet()
    },
    onCertified(entry, instance, { certificate, extras }) {
      const why = entry.heard.doubt(certificate, entry.runner.group)
      if (why !== undefined) return refuse(entry.agentId, instance, 'certificate', why)
      compare(entry, instance, [certificate])
      entry.runner.dispatch({
        kind: 'voter',
        instance,
        message: { kind: 'certificate', certificate },
        extras,
      })
      // It changed the term; the successor may have been changed since.
      if (certificate.proposal.epoch !== entry.runner.group.certificate?.proposal.term) return
      noteRelease(entry, certificate, extras)
      if (extras.incident !== null) nameIncident(entry, extras.incident)
    },
    nameIncident,
    isGenuine(entry, instance, report) {
      const why = entry.heard.doubtRelease(instance, report, entry.runner.group)
      if (why !== undefined) refuse(entry.agentId, instance, 'released', why)
      return why === undefined
    },
  }
}

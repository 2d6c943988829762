import type { Clock } from '@understudy/shared/core/time'
import type { AgentView, ReplicaView } from '@understudy/shared/protocol/agents'
import type { FailoverResponse } from '@understudy/shared/protocol/failover'
import type { CreateReplicaResponse } from '@understudy/shared/protocol/replicas'
import type { Calls } from '../../api/calls.ts'
import type { Answer, Failure } from '../../api/http.ts'
import { formatPool } from '../../ui/format.ts'
import { PromoteFlow } from '../promote/promote-flow.svelte.ts'
import { headlineText } from '../recorder/headline.ts'
import type { StatusLine } from '../shell/status-line.svelte.ts'
import { replicaName } from './replica-mark.ts'

export type OpenDialog =
  | {
      readonly kind: 'promote'
      readonly agentId: string
      readonly replicaId: string
      readonly flow: PromoteFlow
    }
  | { readonly kind: 'delete'; readonly agentId: string; readonly replicaId: string }
  | { readonly kind: 'join'; readonly agentName: string; readonly command: string }

export interface FleetPorts {
  readonly calls: Pick<Calls, 'createReplica' | 'deleteReplica' | 'interrupt' | 'plan' | 'promote'>
  readonly line: StatusLine
  readonly clock: Clock
  readonly newKey: () => string
  /** Why nothing may be done now; undefined when it may. */
  readonly blocked: () => string | undefined
  /** Turns the reader's eyes to the flight recorder. */
  readonly showRecorder: () => void
}

/** What can be done from the fleet: dialogs are opened, mild things are done at once and told in the status line. */
export class FleetActions {
  readonly #ports: FleetPorts
  #dialog = $state.raw<OpenDialog>()
  #launching = $state.raw<ReadonlySet<string>>(new Set())

  constructor(ports: FleetPorts) {
    this.#ports = ports
  }

  get dialog(): OpenDialog | undefined {
    return this.#dialog
  }

  /** Why nothing may be done now; undefined when it may. */
  get blocked(): string | undefined {
    return this.#ports.blocked()
  }

  askPromote(agent: AgentView, replica: Pick<ReplicaView, 'id'>): void {
    const { calls, clock, newKey } = this.#ports
    const ids = { agentId: agent.id, replicaId: replica.id }
    const flow: PromoteFlow = new PromoteFlow({
      calls,
      clock,
      newKey,
      ...ids,
      onAnswer: (answer) => this.#promoted(agent, flow, answer),
    })
    this.#dialog = { kind: 'promote', ...ids, flow }
  }

  /** What the open dialog has set going can be seen: the recorder tells the rest. */
  watch(): void {
    this.closeDialog()
    this.#ports.showRecorder()
  }

  askDelete(agent: AgentView, replica: ReplicaView): void {
    this.#dialog = { kind: 'delete', agentId: agent.id, replicaId: replica.id }
  }

  closeDialog(): void {
    this.#dialog = undefined
  }

  whyNotCreate(agent: AgentView): string | undefined {
    if (this.blocked !== undefined) return this.blocked
    if (this.#launching.has(agent.id)) return 'A replica is being asked for.'
    if (!agent.settings.manual_replica_enabled) return 'The settings of this agent allow no replicas by hand.'
    return agent.instance_id === null ? 'There is no primary yet to copy from.' : undefined
  }

  async createReplica(agent: AgentView): Promise<void> {
    this.#launching = new Set(this.#launching).add(agent.id)
    const answer = await this.#ports.calls.createReplica(agent.id)
    const launching = new Set(this.#launching)
    launching.delete(agent.id)
    this.#launching = launching
    if (!answer.ok) return this.#failed(`${agent.name}: the replica could not be created.`, answer)
    const { replica, join_command: command } = answer.body
    if (command !== null) this.#dialog = { kind: 'join', agentName: agent.name, command }
    this.#ports.line.say({
      text: `${agent.name}: ${createdSentence(answer.body)}`,
      action: { label: 'Undo', run: () => void this.deleteReplica(agent, replica) },
    })
  }

  async deleteReplica(agent: AgentView, replica: ReplicaView): Promise<void> {
    this.closeDialog()
    const answer = await this.#ports.calls.deleteReplica(agent.id, replica.id)
    if (!answer.ok)
      return this.#failed(`${agent.name}: ${replicaName(replica)} could not be deleted.`, answer)
    this.#ports.line.say({ text: `${agent.name}: ${replicaName(replica)} is deleted.` })
  }

  /** The demo only. */
  async interrupt(agent: AgentView, noticeSeconds: number | null): Promise<void> {
    const answer = await this.#ports.calls.interrupt(agent.id, noticeSeconds)
    if (!answer.ok) return this.#failed(`${agent.name}: the interruption could not be simulated.`, answer)
    const what =
      noticeSeconds === null ? 'ended without notice' : `has ${noticeSeconds} s of notice from now on`
    this.#ports.line.say({
      text: `${agent.name}: ${answer.body.instance_id} ${what}.`,
    })
    this.#ports.showRecorder()
  }

  #promoted(agent: AgentView, flow: PromoteFlow, answer: Answer<FailoverResponse>): void {
    const open = this.#dialog?.kind === 'promote' && this.#dialog.flow === flow
    if (!answer.ok) {
      // An open dialog shows it itself.
      if (!open) this.#failed(`${agent.name}: the replica could not be promoted.`, answer)
      return
    }
    if (open) this.watch()
    this.#ports.line.say({ text: `${headlineText(answer.body.incident)}.` })
  }

  #failed(text: string, failure: Failure): void {
    const unknown = failure.kind === 'unknown'
    this.#ports.line.say({
      text: unknown ? text.replace('could not be', 'may or may not have been') : text,
      failure,
    })
  }
}

/** Where, and why there. */
function createdSentence({ replica, choice }: CreateReplicaResponse): string {
  const chosen = choice.find((pool) => pool.chosen)
  const where = `a replica is launching in ${formatPool(replica.pool_id)}`
  return chosen ? `${where}: ${chosen.because}.` : `${where}.`
}

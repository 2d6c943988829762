import type { AgentView, ReplicaView } from '@understudy/shared/protocol/agents'
import type { CreateReplicaResponse } from '@understudy/shared/protocol/replicas'
import type { Calls } from '../../api/calls.ts'
import type { Failure } from '../../api/http.ts'
import { formatPool } from '../../ui/format.ts'
import type { StatusLine } from '../shell/status-line.svelte.ts'
import { replicaName } from './replica-mark.ts'

export type OpenDialog =
  | { readonly kind: 'promote' | 'delete'; readonly agentId: string; readonly replicaId: string }
  | { readonly kind: 'join'; readonly agentName: string; readonly command: string }

type FleetCalls = Pick<Calls, 'createReplica' | 'deleteReplica' | 'interrupt'>

/** What can be done from the fleet: dialogs are opened, mild things are done at once and told in the status line. */
export class FleetActions {
  readonly #calls: FleetCalls
  readonly #line: StatusLine
  readonly #blocked: () => string | undefined
  #dialog = $state.raw<OpenDialog>()
  #launching = $state.raw<ReadonlySet<string>>(new Set())

  constructor(calls: FleetCalls, line: StatusLine, blocked: () => string | undefined) {
    this.#calls = calls
    this.#line = line
    this.#blocked = blocked
  }

  get dialog(): OpenDialog | undefined {
    return this.#dialog
  }

  /** Why nothing may be done now; undefined when it may. */
  get blocked(): string | undefined {
    return this.#blocked()
  }

  askPromote(agent: AgentView, replica: Pick<ReplicaView, 'id'>): void {
    this.#dialog = { kind: 'promote', agentId: agent.id, replicaId: replica.id }
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
    const answer = await this.#calls.createReplica(agent.id)
    const launching = new Set(this.#launching)
    launching.delete(agent.id)
    this.#launching = launching
    if (!answer.ok) return this.#failed(`${agent.name}: the replica could not be created.`, answer)
    const { replica, join_command: command } = answer.body
    if (command !== null) this.#dialog = { kind: 'join', agentName: agent.name, command }
    this.#line.say({
      text: `${agent.name}: ${createdSentence(answer.body)}`,
      action: { label: 'Undo', run: () => void this.deleteReplica(agent, replica) },
    })
  }

  async deleteReplica(agent: AgentView, replica: ReplicaView): Promise<void> {
    this.closeDialog()
    const answer = await this.#calls.deleteReplica(agent.id, replica.id)
    if (!answer.ok)
      return this.#failed(`${agent.name}: ${replicaName(replica)} could not be deleted.`, answer)
    this.#line.say({ text: `${agent.name}: ${replicaName(replica)} is deleted.` })
  }

  /** The demo only. */
  async interrupt(agent: AgentView, noticeSeconds: number | null): Promise<void> {
    const answer = await this.#calls.interrupt(agent.id, noticeSeconds)
    if (!answer.ok) return this.#failed(`${agent.name}: the interruption could not be simulated.`, answer)
    const what = noticeSeconds === null ? 'ended without notice' : `interruption notice, ${noticeSeconds} s`
    this.#line.say({
      text: `${agent.name}: ${answer.body.instance_id}, ${what}. The flight recorder shows the rest.`,
    })
  }

  #failed(text: string, failure: Failure): void {
    const unknown = failure.kind === 'unknown'
    this.#line.say({
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

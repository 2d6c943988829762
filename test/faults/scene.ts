import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { SimulatedCloud } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { isServing } from '../../coordinator/src/demo/rig.ts'
import type { InstanceId } from '../../shared/src/core/ids.ts'
import { formatMillis, millis } from '../../shared/src/core/time.ts'
import type { AgentView, ReplicaView } from '../../shared/src/protocol/agents.ts'
import type { IncidentView, SwitchView } from '../../shared/src/protocol/incidents.ts'
import type { Answer, Fleet } from '../e2e/support/fleet.ts'
import { until } from '../e2e/support/programs.ts'
import { FaultFailed } from './fault-failed.ts'
import type { Field } from './field.ts'
import type { Member } from './member.ts'
import type { Network } from './network.ts'
import { compareTrees } from './trees.ts'

/** What one fault is played on: an agent that serves, with a standby that is ready and a client that keeps writing. */
export interface Scene {
  readonly id: string
  readonly fleet: Fleet
  readonly cloud: SimulatedCloud
  readonly network: Network
  readonly field: Field
  /** As it was at the beginning. */
  readonly primary: Member
  readonly standby: Member
  /** Everybody who takes part, by now. */
  members(): readonly Member[]
  member(instance: string): Member
  /** Makes another standby and waits until it is ready. */
  addStandby(): Promise<Member>
  /** The fault is there from now on: gaps and incidents count from here. */
  strike(): void
  view(): Promise<AgentView>
  replicaOf(member: Member): Promise<ReplicaView>
  call(method: string, path: string, body?: unknown): Promise<Answer>
  /** Asks for a planned move, and does not wait for its end. */
  promote(member: Member): Promise<Answer>
  notice(member: Member, leadMillis?: number): void
  /** Waits until the coordinator says that it is primary and serves. */
  serves(member: Member, withinMillis?: number): Promise<void>
  /** Waits until the workload of `member` answers by itself, past the address. Milliseconds since the strike. */
  runs(member: Member, withinMillis?: number): Promise<number>
  /** Waits until no process of its workload is there, or all are stopped. Milliseconds since the strike. */
  silent(member: Member, withinMillis?: number): Promise<number>
  incidents(): Promise<readonly IncidentView[]>
  /** The only incident since the strike, once it is closed. */
  incident(withinMillis?: number): Promise<IncidentView>
  switches(): Promise<readonly SwitchView[]>
  /** For so long nobody moves: same primary, no incident. */
  calm(forMillis: number): Promise<void>
  until(what: string, holds: () => Promise<boolean> | boolean, withinMillis?: number): Promise<void>
  check(holds: boolean, why: string): void
  /** Lets the hooks keep what the state was when one was frozen and when the next began. */
  keepTrees(): Promise<() => void>
  /** Compares what was kept; every difference is a failure. Says how much was compared. */
  sameTrees(before: Member, after: Member): string
  /** So long may the old workload have run beside the new one. */
  forgive(milliseconds: number): void
  readonly forgiven: number
  /** Undone when the fault has been judged, the last first. */
  atEnd(undo: () => void | Promise<void>): void
  /** Nothing can be done on it any more: what a fault that was given up does next fails. */
  abandon(): void
  end(): Promise<void>
  /** Waits until the two hold the same, with the workload of the first held still to compare. */
  convergesTo(first: Member, second: Member, withinMillis?: number): Promise<string>
}

/** What was written before has arrived by then. */
const QUIET = 200

export const ms = (value: number): string => formatMillis(Math.round(value))

export const settle = (time: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, time))

/** What the record of an incident says, shortly. */
export function told(incident: IncidentView): string {
  const took = incident.no_primary_ms === null ? '' : `, no primary for ${ms(incident.no_primary_ms)}`
  return `${incident.trigger}: ${incident.outcome}${took}, loss ${incident.loss?.kind ?? 'not told'}`
}

/** Begins on an agent that serves and has a standby. */
export async function openScene(field: Field, id: string): Promise<Scene> {
  const { fleet, network } = field
  const agent = await fleet.rig.operator.agent(id)
  const [primary, standby] = [field.member(agent.instance_id ?? ''), field.member(agent.successor_id ?? '')]
  const known = await fleet.known(id)
  const knownSwitches = new Set((await fleet.switches(id)).map((item) => item.id))
  const { cloud, operator, judge } = fleet.rig
  let struckAt = performance.now()
  const kept: string[] = []
  const undoing: (() => void | Promise<void>)[] = []
  let forgiven = 0
  let isOver = false
  const assertOpen = () => {
    if (isOver) throw new FaultFailed('the scene is over')
  }
  const wait = (what: string, holds: () => Promise<boolean> | boolean, withinMillis?: number) =>
    until(
      what,
      () => {
        assertOpen()
        return holds()
      },
      withinMillis,
    )

  const check = (holds: boolean, why: string) => {
    if (!holds) throw new FaultFailed(why)
  }
  const isHeld = (member: Member) => field.isSilent(member)

  const scene: Scene = {
    id,
    fleet,
    cloud,
    network,
    field,
    primary,
    standby,
    members: () => field.membersOf(id),
    member: (instance) => field.member(instance),
    async addStandby() {
      const there = new Set(field.membersOf(id).map(({ instance }) => instance))
      await operator.createReplica(id)
      let fresh: Member | undefined
      await wait('another standby is ready', async () => {
        const { replicas } = await operator.agent(id)
        const ready = replicas.find(
          ({ status, instance_id: instance }) =>
            status === 'ready' && instance !== null && !there.has(instance as InstanceId),
        )
        if (ready?.instance_id) fresh = field.member(ready.instance_id)
        return fresh !== undefined
      })
      return fresh as Member
    },
    strike() {
      struckAt = performance.now()
      judge.mark(id)
    },
    async view() {
      assertOpen()
      return operator.agent(id)
    },
    async replicaOf(member) {
      const { replicas } = await scene.view()
      const found = replicas.find(({ instance_id: instance }) => instance === member.instance)
      if (!found) throw new FaultFailed(`${member.instance} is no standby`)
      return found
    },
    async call(method, path, body) {
      assertOpen()
      return fleet.call(method, path, body)
    },
    async promote(member) {
      const { id: replica } = await scene.replicaOf(member)
      return scene.call('POST', `/api/agents/${id}/replicas/${replica}/promote`, {})
    },
    notice: (member, lead = 20_000) => cloud.interrupt(member.instance, millis(lead)),
    async serves(member, within = 20_000) {
      await wait(
        `${member.instance} is primary and serves`,
        async () => {
          const agent = await operator.agent(id)
          return agent.instance_id === member.instance && isServing(agent)
        },
        within,
      )
    },
    async runs(member, within = 20_000) {
      await wait(`the workload of ${member.instance} answers`, () => member.answers(), within)
      return performance.now() - struckAt
    },
    async silent(member, within = 10_000) {
      await wait(`the workload of ${member.instance} stands still or has ended`, () => isHeld(member), within)
      return performance.now() - struckAt
    },
    incidents: async () => (await operator.incidents(id)).filter((incident) => !known.has(incident.id)),
    async incident(within = 30_000) {
      let fresh: readonly IncidentView[] = []
      await wait(
        'an incident is closed',
        async () => {
          fresh = await scene.incidents()
          return fresh.length > 0 && fresh.every(({ closed_at: closed }) => closed !== null)
        },
        within,
      )
      check(
        fresh.length === 1,
        `one event became ${fresh.length} incidents (${fresh.map(({ trigger, outcome }) => `${trigger} ${outcome}`).join(', ')})`,
      )
      return fresh[0] as IncidentView
    },
    switches: async () => (await fleet.switches(id)).filter((item) => !knownSwitches.has(item.id)),
    async calm(time) {
      const ends = performance.now() + time
      while (performance.now() < ends) {
        assertOpen()
        const [agent, incidents] = await Promise.all([operator.agent(id), scene.incidents()])
        check(
          agent.instance_id === primary.instance && incidents.length === 0,
          `it did not stay calm: ${agent.reason}`,
        )
        await settle(50)
      }
    },
    until: wait,
    check,
    async keepTrees() {
      for (const { directory } of [primary, standby]) {
        for (const old of ['kept-start', 'kept-freeze'])
          await rm(join(directory, old), { recursive: true, force: true })
        const file = join(directory, 'keep-tree')
        writeFileSync(file, '')
        kept.push(file)
      }
      return () => {
        for (const file of kept.splice(0)) rmSync(file, { force: true })
      }
    },
    sameTrees(before, after) {
      const trees = [join(before.directory, 'kept-freeze'), join(after.directory, 'kept-start')] as const
      for (const tree of trees)
        check(existsSync(tree), `no whole copy was kept of the state: the hook had no time for ${tree}`)
      const { entries, bytes, differences } = compareTrees(...trees)
      check(differences.length === 0, `the trees differ: ${differences.join('; ')}`)
      return `${entries} entries, ${(bytes / 1024 / 1024).toFixed(1)} MiB equal byte by byte`
    },
    forgive(milliseconds) {
      forgiven = milliseconds
    },
    get forgiven() {
      return forgiven
    },
    atEnd: (undo) => void undoing.push(undo),
    abandon() {
      isOver = true
    },
    async end() {
      for (const undo of undoing.splice(0).reverse()) await undo()
    },
    async convergesTo(first, second, within = 20_000) {
      for (const ends = performance.now() + within; ; await settle(500)) {
        assertOpen()
        first.signalWorkload('SIGSTOP')
        await settle(QUIET)
        const { entries, differences } = compareTrees(first.state, second.state)
        first.signalWorkload('SIGCONT')
        if (differences.length === 0) return `${entries} entries equal byte by byte`
        check(performance.now() < ends, `the trees differ: ${differences.join('; ')}`)
      }
    },
  }
  return scene
}

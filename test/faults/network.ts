import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { MachineFacts } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { type Conditions, type Gate, openGate, type Route } from './gate.ts'
import { agentProcess, isAlive } from './processes.ts'
import { inodeIn } from './socket-table.ts'

export const COORDINATOR = 'coordinator'
const OPEN: Conditions = { state: 'open' }

/**
 * The network between the members of the groups, and from each of them to the coordinator: every connection goes
 * through a gate of its own kind, so that any direction between any two can be broken in any way.
 */
export interface Network {
  /** Before a machine boots: where it finds the coordinator, and what it tells its peers. */
  connect(facts: MachineFacts): { coordinatorUrl: string; advertise: string }
  /** One direction. */
  line(from: string, to: string, conditions: Conditions): void
  /** Both directions between one and each of the others. */
  between(one: string, others: readonly string[], conditions: Conditions): void
  /** Every line is open and fast again. */
  heal(): void
  close(): Promise<void>
}

/** Gates that listen already: a machine boots from one moment to the next. */
const SPARE = 12

export async function createNetwork(): Promise<Network> {
  const set = new Map<string, Conditions>()
  const conditions = (from: string, to: string) => set.get(`${from}>${to}`) ?? OPEN
  const gates: Gate[] = []
  const spare: { readonly gate: Gate; lead(route: Lead): void }[] = []
  const known = new Map<string, { readonly coordinatorUrl: string; readonly advertise: string }>()
  const members = new Map<string, string>()
  let filling: Promise<void> = Promise.resolve()

  type Lead = (dialled: Socket) => Route | undefined

  async function fill(): Promise<void> {
    while (spare.length < SPARE) {
      let lead: Lead = () => undefined
      const gate = await openGate(async (dialled) => lead(dialled), conditions)
      gates.push(gate)
      spare.push({
        gate,
        lead: (next) => {
          lead = next
        },
      })
    }
  }
  await fill()

  function take(lead: Lead): number {
    const taken = spare.shift()
    if (!taken) throw new Error('more machines boot at once than there are gates')
    taken.lead(lead)
    filling = filling.then(fill)
    return taken.gate.port
  }

  function dialler(dialled: Socket): string | undefined {
    const inode = inodeOf(dialled.remotePort ?? 0)
    if (inode === undefined) return undefined
    for (const [instance, directory] of members) {
      const pid = pidOf(instance, directory)
      if (pid !== undefined && holds(pid, inode)) return instance
    }
    return undefined
  }

  const pids = new Map<string, number>()
  function pidOf(instance: string, directory: string): number | undefined {
    const cached = pids.get(instance)
    if (cached !== undefined && isAlive(cached)) return cached
    const found = agentProcess(instance, directory)
    if (found !== undefined) pids.set(instance, found)
    return found
  }

  const update = () => {
    for (const gate of gates) gate.update()
  }
  const network: Network = {
    connect(facts) {
      const { instanceId, directory, coordinatorUrl, replicationPort, voterPort } = facts
      members.set(instanceId, directory)
      const before = known.get(instanceId)
      if (before) return before
      const url = new URL(coordinatorUrl)
      const coordinatorPort = Number(url.port)
      url.port = String(take(() => ({ from: instanceId, to: COORDINATOR, port: coordinatorPort })))
      const inbound = (port: number) =>
        take((dialled) => {
          const from = dialler(dialled)
          return from === undefined ? undefined : { from, to: instanceId, port }
        })
      const places = {
        coordinatorUrl: url.href.replace(/\/$/, ''),
        advertise: `127.0.0.1:${inbound(replicationPort)}:${inbound(voterPort)}`,
      }
      known.set(instanceId, places)
      return places
    },
    line(from, to, next) {
      set.set(`${from}>${to}`, next)
      update()
    },
    between(one, others, next) {
      for (const other of others) {
        set.set(`${one}>${other}`, next)
        set.set(`${other}>${one}`, next)
      }
      update()
    },
    heal() {
      set.clear()
      update()
    },
    async close() {
      await filling
      await Promise.all(gates.map((gate) => gate.close()))
    },
  }
  return network
}

/** Of the socket that a process on this machine has bound to `port` on the loopback. Gates listen on IPv4 only. */
const inodeOf = (port: number): string | undefined => inodeIn(readFileSync('/proc/net/tcp', 'latin1'), port)

function holds(pid: number, inode: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some(
      (name) => linkOf(`/proc/${pid}/fd/${name}`) === `socket:[${inode}]`,
    )
  } catch {
    // It has ended meanwhile.
    return false
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

import { appendFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '@understudy/shared/core/app-error'
import { agentId, type InstanceId } from '@understudy/shared/core/ids'
import { seededRandom } from '@understudy/shared/core/random'
import { seconds as duration } from '@understudy/shared/core/time'
import { poolId } from '@understudy/shared/market/pool'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { MachineImage } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import {
  hasReadyReplica,
  isServing,
  type Rig,
  type RigPrograms,
  startRig,
  untilAgent,
} from '../../coordinator/src/demo/rig.ts'
import { within } from '../within.ts'
import { type Account, account, type Life } from './account.ts'
import { poolsFor, SPOT_SHARE, traceMarket } from './market.ts'
import { type Probe, startProbe } from './probe.ts'
import { type Schedule, type Slot, slotsAt, takeSlot } from './schedule.ts'

export interface PlayOptions {
  readonly programs: RigPrograms
  readonly seed: number
  /** Seconds of the trace in a real second. */
  readonly speed: number
  /** Standbys that are kept at all times. */
  readonly standbys: number
  readonly say: (line: string) => void
}

export interface Played extends Account {
  /** Notices to the instance that served, and of these: another took over, with all that had been acknowledged. */
  readonly interruptions: number
  readonly survived: number
  /** Notices to the instance that served while no other zone had capacity, so that there was no place for a standby. */
  readonly alone: number
  /** Incidents in which the agent began again, from a snapshot or with nothing. */
  readonly relaunched: number
  /** Incidents that were still going on at the end. */
  readonly open: number
  /** Of each hand-over: from the last answer of the old primary to the first of the new one, as the coordinator has it. */
  readonly no_primary_ms: readonly number[]
  /** What the coordinator wrote down of each incident, the last first. */
  readonly incidents: readonly Pick<
    IncidentView,
    'trigger' | 'outcome' | 'outcome_reason' | 'no_primary_ms'
  >[]
  readonly standby_interruptions: number
  /** By a client that wrote all the time; null where nobody served at the end whom it could ask. */
  readonly writes_acked: number | null
  readonly writes_lost: number | null
  readonly overlaps: readonly string[]
}

const AGENT = 'agent-trace'
const LOOK_EVERY = 100
const WRITES_PER_SECOND = 10
/** Shorter silences are no outage: the client asks every 50 ms, on a machine that is busy. */
const LEAST_SILENCE = 0.3
const START_WITHIN = 60_000
const CLOSE_WITHIN = 20_000
const READ_WITHIN = 15_000

/** Two minutes of the trace, and never less than 8 s: an instance of the rig boots in a tenth of the time of a real one. */
export const leadAt = (speed: number): number => Math.max(8, 120 / speed)
/** Five minutes of the trace. */
const emptyPoolFor = (speed: number): number => Math.max(1, 300 / speed)

/** Plays a stretch of a trace with real processes; the trace stands at its first moment until the agent is protected. */
export async function playTrace(schedule: Schedule, options: PlayOptions): Promise<Played> {
  const { seed, speed, standbys, programs, say } = options
  const pools = poolsFor(schedule.zones)
  const zoneOf = new Map(pools.map(({ id }, index) => [id, schedule.zones[index] ?? '']))
  let beganAt: number | undefined
  const now = () => (beganAt === undefined ? 0 : ((performance.now() - beganAt) / 1000) * speed)
  const market = traceMarket(pools, (id) => slotsAt(schedule, now(), zoneOf.get(id)).length > 0)
  const rig = await startRig({
    seed,
    programs,
    logLevel: 'info',
    image: withSnapshots,
    cloud: { pools, market, bootMillis: () => [2000, 4000] },
    coordinatorEnv: { UNDERSTUDY_EMPTY_POOL_FOR: String(emptyPoolFor(speed)) },
  })
  try {
    const first = pools.find(({ id }) => market.state(id)?.hasCapacity)?.id ?? pools[0]?.id ?? ''
    await within('a protected agent', START_WITHIN, protect(rig, first, standbys, schedule))
    const port = await rig.cloud.addressPort(agentId(AGENT))
    const probe = startProbe(port)
    rig.judge.write(AGENT, port, WRITES_PER_SECOND)
    while (probe.last() === undefined) await sleep(LOOK_EVERY)
    const book = createBook(rig, schedule, zoneOf, options)
    const known = new Set((await rig.operator.incidents(AGENT)).map(({ id }) => id))
    book.look(0, undefined)
    probe.begin()
    beganAt = performance.now()
    for (let next = 60; now() < schedule.seconds; await sleep(LOOK_EVERY)) {
      book.look(now(), probe.last())
      if (now() / speed < next) continue
      next += 60
      say(`  ${Math.round(now() / 3600)} h of ${(schedule.seconds / 3600).toFixed(1)} h`)
    }
    const silences = probe.end(LEAST_SILENCE)
    const accounted = account(schedule, silences, book.lives(probe), { speed, spotShare: SPOT_SHARE })
    const incidents = (await rig.operator.incidents(AGENT)).filter(({ id }) => !known.has(id))
    return { ...accounted, ...book.interruptions(), ...judged(incidents), ...(await verified(rig)) }
  } finally {
    await within('the end of all processes', CLOSE_WITHIN, rig.close()).catch((error: unknown) =>
      say(messageOf(error)),
    )
  }
}

/** A store of snapshots that outlives the instances. */
const withSnapshots =
  (usual: MachineImage): MachineImage =>
  (facts) => {
    const machine = usual(facts)
    const store = join(facts.directory, '../../snapshots')
    mkdirSync(store, { recursive: true })
    appendFileSync(
      join(facts.directory, 'agent.yaml'),
      `snapshot_store: ${JSON.stringify(store)}\nsnapshot_interval: 5\n`,
    )
    return machine
  }

/** As many standbys as are asked for, or as there are zones for now. */
async function protect(rig: Rig, pool: string, standbys: number, schedule: Schedule): Promise<void> {
  await rig.launchAgent({ id: AGENT, name: 'trace', client: 'traces', pool })
  await rig.operator.change(AGENT, { min_replicas: standbys })
  const others = new Set(slotsAt(schedule, 0).map(({ zone }) => zone)).size - 1
  await untilAgent(
    rig.operator,
    AGENT,
    'its standbys',
    (agent) => isServing(agent) && (standbys === 0 || others < 1 || hasReadyReplica(agent)),
    START_WITHIN,
  )
  rig.settle()
}

/** What became of the instances, and the strings that the trace pulls. */
function createBook(
  rig: Rig,
  schedule: Schedule,
  zoneOf: ReadonlyMap<string, string>,
  { seed, speed }: PlayOptions,
) {
  const random = seededRandom(seed)
  const machines = new Map<
    InstanceId,
    { readonly from: number; readonly slot: Slot | undefined; told: boolean; to: number | undefined }
  >()
  const lead = duration(leadAt(speed))
  let ofPrimary = 0
  let ofOthers = 0
  let alone = 0
  let began = false

  function notePrimary(at: number, zone: string): void {
    ofPrimary += 1
    if (slotsAt(schedule, at).every((slot) => slot.zone === zone)) alone += 1
  }

  return {
    /** @param serving the instance that answered last */
    look(at: number, serving: string | undefined): void {
      for (const { instanceId, pool, state } of rig.cloud.instances()) {
        const zone = zoneOf.get(poolId(pool)) ?? ''
        const machine = machines.get(instanceId) ?? {
          ...{ from: began ? at : Number.NEGATIVE_INFINITY, slot: takeSlot(schedule, at, zone, random) },
          ...{ told: false, to: undefined as number | undefined },
        }
        machines.set(instanceId, machine)
        if (state === 'terminated') {
          machine.to ??= at
          continue
        }
        if (machine.told || (machine.slot !== undefined && at < machine.slot.to)) continue
        machine.told = true
        if (instanceId === serving) notePrimary(at, zone)
        else ofOthers += 1
        rig.cloud.interrupt(instanceId, lead)
      }
      began = true
    },
    lives: ({ servedBy }: Probe): readonly Life[] =>
      [...machines].map(([id, { from, to }]) => ({
        span: [Math.max(0, from), Math.min(to ?? schedule.seconds, schedule.seconds)],
        hasServed: servedBy.has(id),
        isNew: from >= 0,
        isAlive: to === undefined,
      })),
    interruptions: () => ({ interruptions: ofPrimary, alone, standby_interruptions: ofOthers }),
  }
}

function judged(incidents: readonly IncidentView[]) {
  const promoted = incidents.filter(({ outcome }) => outcome === 'promoted')
  return {
    survived: promoted.filter(({ loss }) => loss === null || loss.kind === 'none').length,
    relaunched: incidents.filter(({ outcome }) => outcome === 'relaunched').length,
    open: incidents.filter(({ outcome }) => outcome === 'running').length,
    incidents: incidents.map(({ trigger, outcome, outcome_reason, no_primary_ms }) => ({
      ...{ trigger, outcome, outcome_reason, no_primary_ms },
    })),
    no_primary_ms: promoted.flatMap(({ no_primary_ms }) => no_primary_ms ?? []),
  }
}

async function verified(rig: Rig): Promise<Pick<Played, 'writes_acked' | 'writes_lost' | 'overlaps'>> {
  const answer = await within('reading everything back', READ_WITHIN, rig.judge.verify(AGENT)).catch(
    () => undefined,
  )
  const verdict = answer?.verdict
  return {
    writes_acked: verdict?.acked ?? null,
    writes_lost: verdict ? verdict.missing.length + verdict.wrong : null,
    overlaps: await rig.judge.overlaps(rig.witnessFile),
  }
}

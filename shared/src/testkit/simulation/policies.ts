import type { InstanceId } from '../../core/ids.ts'
import { type Random, seededRandom } from '../../core/random.ts'
import { between, hours, type Instant, instant, millis, seconds } from '../../core/time.ts'
import { type GroupMember, mayPromote, readyTargets } from '../../failover/group.ts'
import { FOLLOWED_WITHIN, outcomeOf } from '../../interruption/signal-outcome.ts'
import { answerRebalance } from '../../policies/rebalance-policy.ts'
import { planStandbys, type QuietAgent, type StandbyFacts } from '../../policies/standby-plan.ts'
import type { ReplicaType } from '../../protocol/agents.ts'
import type { Fault, PolicySettings } from './options.ts'
import type { Deputy, Instance, World } from './world-parts.ts'

/**
 * What the coordinator does of its own accord about standbys, in the simulation: the same decisions as in the product
 * (`shared/src/policies`), carried out on the same core, with a judge beside them.
 *
 * P1 who ignores recommendations is never moved because of one;
 * P2 nobody is let go who is primary or about to be, nor below `minReplicas`, nor the last while the primary is at risk;
 * P3 in the end as many standbys are ready as are to be kept.
 */

/** What it lets happen in the world. */
export interface DeputyPorts {
  /** Starts one more instance. */
  readonly launch: () => InstanceId
  readonly end: (instance: Instance, why: string) => void
}

/** A virtual second is so many of the policies' own, so that their hours pass within a schedule. */
const PACE = 2400
const LOOK_EVERY_TICKS = 4
const COOLDOWN = hours(2)
const THRESHOLD = 0.3
const UNHEARD_FOR = seconds(3)
const LAUNCH = [500, 2000] as const
/** More than the settings ask for come about when a primary returns as a standby. */
const MOST_STANDBYS = 5

/** Settings of a schedule, and when AWS says what; from its seed alone. */
export function drawPolicies(seed: number): PolicySettings {
  const random = seededRandom(seed ^ 0x9011c)
  const onRebalance = (['replica', 'handover', 'ignore', 'handover'] as const)[Math.floor(random() * 4)]
  return { onRebalance: onRebalance ?? 'replica', minReplicas: Math.floor(random() * 4) }
}

export function drawRecommendations(seed: number, duration: number): readonly Fault[] {
  const random = seededRandom(seed ^ 0x4eba1)
  return Array.from({ length: 1 + Math.floor(random() * 3) }, () => ({
    kind: 'rebalance' as const,
    at: 2000 + random() * (duration - 2000),
    who: random() * 0.7,
    size: random(),
  }))
}

interface Known {
  readonly detectedAt: Instant
  readonly probability: number
  noticedAt: Instant | null
  endedAt: Instant | null
}

export function createDeputy(
  world: World,
  settings: PolicySettings,
  seed: number,
  { launch, end }: DeputyPorts,
): Deputy {
  const { judge, queue } = world
  const { onRebalance: policy, minReplicas } = settings
  const random: Random = seededRandom(seed ^ 0xde9)
  /** What the database holds: signals, and why each standby was made. */
  const signals = new Map<InstanceId, Known>()
  const made = new Map<InstanceId, { readonly type: ReplicaType; readonly at: Instant }>()
  let making = false
  let ticks = 0
  let lastPrimary: InstanceId | undefined
  let lastMoveAt: Instant | null = null
  let triedAt: Instant | null = null
  world.hit('policy', `${policy}, ${minReplicas} kept`)

  const now = (): Instant => instant(Math.floor(queue.now * PACE))

  const usable = (): readonly GroupMember[] =>
    [...world.center.group.members.values()].filter(
      ({ instance, noticedBy, gone, retired, left }) =>
        instance !== world.center.group.primary && noticedBy === undefined && !gone && !retired && !left,
    )

  function make(type: ReplicaType): void {
    if (making || usable().length >= MOST_STANDBYS) return
    making = true
    queue.at(queue.now + LAUNCH[0] + random() * (LAUNCH[1] - LAUNCH[0]), () => {
      making = false
      made.set(launch(), { type, at: now() })
    })
  }

  function signalOf(instance: InstanceId): QuietAgent['signal'] {
    const known = signals.get(instance)
    if (!known) return null
    const machine = world.instances.get(instance)
    if (machine?.noticed) known.noticedAt ??= now()
    if (machine?.gone) known.endedAt ??= now()
    const { detectedAt, probability } = known
    if (detectedAt < now() - COOLDOWN - FOLLOWED_WITHIN) return null
    return { detectedAt, probability, outcome: outcomeOf(known, now()) }
  }

  const isOpen = (instance: InstanceId): boolean => signalOf(instance)?.outcome === 'open'

  function factsOf(standbys: readonly GroupMember[], primary: InstanceId): QuietAgent {
    const ready = new Set(
      readyTargets(world.center.group, world.center.now()).map(({ instance }) => instance),
    )
    return {
      ...{ now: now(), policy, automatic: true, threshold: THRESHOLD, minReplicas, cooldown: COOLDOWN },
      ...{ signal: signalOf(primary), hazard: null, lastMoveAt, triedAt },
      standbys: standbys.map(
        ({ instance }, merit): StandbyFacts => ({
          ...{ id: instance, instance, merit },
          type: made.get(instance)?.type ?? 'manual',
          createdAt: made.get(instance)?.at ?? instant(0),
          isReady: ready.has(instance),
          isAtRisk: isOpen(instance),
        }),
      ),
    }
  }

  /** As `isQuiet` of the product: nothing moves, and the primary is heard. */
  function quietPrimary(): InstanceId | undefined {
    const { phase, primary, members, waiting } = world.center.group
    const owner = primary === undefined ? undefined : members.get(primary)
    const isQuiet =
      phase.kind === 'steady' && waiting === undefined && !making && owner?.connected && !owner.noticedBy
    return isQuiet ? primary : undefined
  }

  /** As housekeeping does: a standby that has said nothing for a while, so that its link is closed, is looked up in the cloud. */
  function forgetEnded(): void {
    const { center } = world
    const { members, primary } = center.group
    for (const { instance, heardAt, left } of members.values()) {
      if (instance === primary || left || between(heardAt, center.now()) <= UNHEARD_FOR) continue
      if (!world.instances.get(instance)?.gone) continue
      center.dispatch({ kind: 'gone', instance })
      center.letGo(instance)
    }
  }

  function look(primary: InstanceId): void {
    const standbys = usable()
    if (standbys.length > 1)
      world.center.dispatch({ kind: 'appraised', order: standbys.map(({ instance }) => instance) })
    const facts = factsOf(standbys, primary)
    const plan = planStandbys(facts)
    if (plan.kind === 'nothing') return
    world.note(`the deputy: ${plan.kind}: ${plan.why}`)
    if (plan.kind === 'make') {
      world.hit('policy', `makes, ${plan.type}`)
      return make(plan.type)
    }
    if (plan.kind === 'release') return release(plan.id as InstanceId, facts)
    triedAt = now()
    handOver(plan.instance as InstanceId)
  }

  function handOver(target: InstanceId): void {
    if (policy !== 'handover') judge.violate(`P1: ${target} is to take over, and the policy is ${policy}`)
    const { center } = world
    const refused = mayPromote(center.group, target, center.now())
    world.hit('policy', refused === undefined ? 'hands over' : 'hand-over refused')
    if (refused === undefined)
      center.dispatch({ kind: 'promote', target, budget: millis(5000), keepOld: false })
  }

  function release(id: InstanceId, { standbys, signal }: QuietAgent): void {
    const { phase, primary } = world.center.group
    const left = standbys.filter(({ instance }) => instance !== id).length
    const isAtRisk = policy !== 'ignore' && signal?.outcome === 'open' && signal.probability > THRESHOLD
    if (id === primary || ('target' in phase && phase.target === id))
      judge.violate(`P2: ${id} is let go and has the workload`)
    if (left < minReplicas || (isAtRisk && left === 0))
      judge.violate(`P2: ${id} is let go, and ${left} are left`)
    world.hit('policy', 'lets go')
    world.center.letGo(id)
    const instance = world.instances.get(id)
    queue.at(queue.now + random() * 50, () => instance && end(instance, 'let go'))
  }

  return {
    tick() {
      const { primary } = world.center.group
      if (primary !== lastPrimary) {
        if (lastPrimary !== undefined) lastMoveAt = now()
        lastPrimary = primary
      }
      ticks += 1
      if (ticks % LOOK_EVERY_TICKS !== 0) return
      forgetEnded()
      const quiet = quietPrimary()
      if (quiet !== undefined) look(quiet)
    },
    recommend(instance, probability) {
      if (instance.gone || signals.has(instance.id)) return
      const noticedAt = instance.noticed ? now() : null
      signals.set(instance.id, { detectedAt: now(), probability, noticedAt, endedAt: null })
      const { act } = answerRebalance({
        instance: instance.id,
        isPrimary: instance.id === world.center.group.primary,
        ...{ probability, threshold: THRESHOLD, policy, automatic: true },
        hasStandby: usable().length > 0,
      })
      world.hit('policy answers', act)
      if (act !== 'none' && usable().length === 0) make('automatic-rebalance')
    },
    wanted() {
      if (usable().length === 0) make('automatic-termination')
    },
    isSatisfied() {
      const kept = new Set(usable().map(({ instance }) => instance))
      const ready = readyTargets(world.center.group, world.center.now())
      return ready.filter(({ instance }) => kept.has(instance)).length >= minReplicas
    },
  }
}

/** What one invocation of the failover benchmark measures. Pure: options in, cases out. */

export type Trigger = 'notice' | 'kill' | 'planned'

export interface CasePlan {
  readonly trigger: Trigger | 'notice-no-replica'
  readonly stateMib: number
  /** 0: the client only reads. */
  readonly writesPerSecond: number
  /** Interrupted in the same second. */
  readonly agents: number
  readonly runs: number
}

export interface FailoverPlan {
  /** Each with machines of its own, smallest state first. */
  readonly states: readonly { readonly stateMib: number; readonly cases: readonly CasePlan[] }[]
  readonly many: CasePlan | undefined
}

/** How long it all takes by default, and what of that is kept for the many agents, which come last; seconds. */
export const DEFAULT_SECONDS = 600
export const MANY_SECONDS = 210

/** Seconds: half as much again as on two cores with nothing else to do. */
const COST = {
  /** Machines and state, and the workload alone, until the first replica is ready. */
  prepare: { once: 6, perGib: 18 },
  /** Until the first copy has been compared, beside the time that agents are watched doing nothing. */
  compare: { once: 18, perGib: 25 },
  /** One run with what is made for it: a whole copy after a notice, else a look at the old one. */
  run: {
    notice: { once: 4.5, perGib: 8 },
    kill: { once: 5, perGib: 2.5 },
    planned: { once: 4, perGib: 1.5 },
    'notice-no-replica': { once: 9, perGib: 0 },
  },
} as const

/** How long all cases of one size of state take, about. */
export function expectedSeconds(
  { stateMib, cases }: FailoverPlan['states'][number],
  idleSeconds: number,
): number {
  const of = ({ once, perGib }: { once: number; perGib: number }) => once + (perGib * stateMib) / 1024
  const idle = idleSeconds > 0 ? of(COST.compare) + idleSeconds : 0
  return cases.reduce((sum, { trigger, runs }) => sum + runs * of(COST.run[trigger]), of(COST.prepare) + idle)
}

/** From so much on, each run takes several seconds for its state alone. */
const LARGE_MIB = 512

/** Two agents for each of the many are processes of this machine, so each has next to no state. */
const MANY_STATE_MIB = 1

const triggers: readonly Trigger[] = ['notice', 'kill', 'planned']

/** @throws Error with the option, what it is and what it must be */
export function planFailover(
  options: Readonly<Record<string, number>>,
  texts: Readonly<Record<string, string>>,
): FailoverPlan {
  const { runs = 0, copy = 0, large = 0, cold = 0, agents = 0, rounds = 0 } = options
  const rates = parseNumbers('rates', texts.rates ?? '', 10_000)
  const wanted = parseTriggers(texts.triggers ?? '')
  const states = parseNumbers('states', texts.states ?? '', 16_384)
  const plan: FailoverPlan = {
    states: states.map((stateMib, index) => {
      const about = (trigger: CasePlan['trigger'], writesPerSecond: number, times: number): CasePlan => ({
        trigger,
        stateMib,
        writesPerSecond,
        agents: 1,
        runs: times,
      })
      const most = stateMib >= LARGE_MIB ? Math.min(runs, large) : runs
      const warm = rates.flatMap((rate) =>
        wanted.map((trigger) =>
          about(trigger, rate, trigger === 'notice' ? bounded(most, copy, stateMib) : most),
        ),
      )
      const last = index === 0 ? [about('notice-no-replica', rates.at(-1) ?? 0, cold)] : []
      return { stateMib, cases: [...warm, ...last].filter((planned) => planned.runs > 0) }
    }),
    many:
      agents > 0 && rounds > 0
        ? { trigger: 'notice', stateMib: MANY_STATE_MIB, writesPerSecond: 0, agents, runs: rounds }
        : undefined,
  }
  if (plan.states.every(({ cases }) => cases.length === 0) && !plan.many)
    throw new Error('there is nothing to measure: give --runs, --cold or --agents more than 0')
  return { ...plan, states: plan.states.filter(({ cases }) => cases.length > 0) }
}

/** A notice costs an instance, so each run needs a whole new copy. */
const bounded = (runs: number, copyMib: number, stateMib: number): number =>
  Math.min(runs, Math.max(1, Math.floor(copyMib / Math.max(1, stateMib))))

function parseNumbers(name: string, text: string, most: number): readonly number[] {
  const numbers = text.split(',').map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : Number.NaN))
  if (numbers.some((value) => !(value <= most)))
    throw new Error(
      `--${name} is ${JSON.stringify(text)}: it must be whole numbers up to ${most} with commas between`,
    )
  return [...new Set(numbers)].sort((a, b) => a - b)
}

function parseTriggers(text: string): readonly Trigger[] {
  const parts = text.split(',').map((part) => part.trim())
  if (parts.some((part) => !triggers.some((trigger) => trigger === part)))
    throw new Error(
      `--triggers is ${JSON.stringify(text)}: it must be some of ${triggers.join(', ')} with commas between`,
    )
  return triggers.filter((trigger) => parts.includes(trigger))
}

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

/** Two agents for each of the many are processes of this machine, so each has next to no state. */
const MANY_STATE_MIB = 1

const triggers: readonly Trigger[] = ['notice', 'kill', 'planned']

/** @throws Error with the option, what it is and what it must be */
export function planFailover(
  options: Readonly<Record<string, number>>,
  texts: Readonly<Record<string, string>>,
): FailoverPlan {
  const { runs = 0, copy = 0, cold = 0, agents = 0, rounds = 0 } = options
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
      const warm = rates.flatMap((rate) =>
        wanted.map((trigger) =>
          about(trigger, rate, trigger === 'notice' ? bounded(runs, copy, stateMib) : runs),
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

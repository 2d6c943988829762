/**
 * Do events, such as interruptions, come at the same rate in two arms? If they do, each event falls into the treatment with
 * its share of the exposure at that moment. An e-value bets against that; it may be looked at after every event, and
 * `1 / alpha` or more rejects equal rates.
 */

/** One event, and how much ran in each arm when it came (instances, or any unit of exposure per time). */
export interface ArmEvent {
  readonly arm: 'control' | 'treatment'
  readonly controlExposure: number
  readonly treatmentExposure: number
}

export interface RateResult {
  readonly control: number
  readonly treatment: number
  readonly eValue: number
  /** Rate of the treatment over that of control: where it is likeliest, and the set of values that are not rejected. */
  readonly ratio: number | null
  readonly lower: number
  readonly upper: number
}

/**
 * `B(a + x, b + y) / B(a, b) / (p0^x (1 - p0)^y)` with a = b = 1: x events in the treatment and y in control, at a share of the
 * exposure that never changes. It is a product of predictions, one for each event, in any order.
 */
export function constantShareEValue(treatment: number, control: number, share: number): number {
  let log = 0
  for (let x = 0; x < treatment; x += 1) log += Math.log((1 + x) / (2 + x) / share)
  for (let y = 0; y < control; y += 1) log += Math.log((1 + y) / (2 + treatment + y) / (1 - share))
  return Math.exp(log)
}

const GRID = 41
const WIDEST = 4
/** Ratios of rates from 1/4 to 4, in equal steps of their logarithm. */
export const rateRatios: readonly number[] = Array.from(
  { length: GRID },
  (_, i) => WIDEST ** ((2 * i) / (GRID - 1) - 1),
)
const EVEN = (GRID - 1) / 2

/**
 * With a share that changes: for each ratio of the grid the likelihood `p_t = E_B t / (E_A + E_B t)` against that of equal
 * rates, and their mean. An event while one arm had no exposure says nothing and counts for nothing.
 */
export function changingShare(events: readonly ArmEvent[], alpha: number): RateResult {
  const logs = new Float64Array(GRID)
  let control = 0
  let treatment = 0
  for (const { arm, controlExposure, treatmentExposure } of events) {
    if (!(controlExposure > 0 && treatmentExposure > 0)) continue
    if (arm === 'control') control += 1
    else treatment += 1
    for (const [i, ratio] of rateRatios.entries()) {
      const share = (treatmentExposure * ratio) / (controlExposure + treatmentExposure * ratio)
      logs[i] = (logs[i] as number) + Math.log(arm === 'treatment' ? share : 1 - share)
    }
  }
  const against = (i: number) =>
    logs.reduce((sum, log) => sum + Math.exp(log - (logs[i] as number)), 0) / GRID
  const possible = rateRatios.filter((_, i) => against(i) < 1 / alpha)
  return {
    control,
    treatment,
    eValue: against(EVEN),
    ratio: control + treatment === 0 ? null : (rateRatios[likeliest(logs)] as number),
    // At an end of the grid the true value may lie beyond it.
    lower: possible[0] === rateRatios[0] ? 0 : (possible[0] ?? 0),
    upper:
      possible.at(-1) === rateRatios.at(-1)
        ? Number.POSITIVE_INFINITY
        : (possible.at(-1) ?? Number.POSITIVE_INFINITY),
  }
}

function likeliest(logs: Float64Array): number {
  let best = EVEN
  for (const [i, log] of logs.entries()) if (log > (logs[best] as number)) best = i
  return best
}

import { AppError } from '../core/app-error.ts'

/** SHA-256 of a text in UTF-8; what runs this brings its own. */
export type Sha256 = (text: string) => Uint8Array

/** One side of an experiment; the first is control. Weights are in 1/10,000 and add up to 10,000. */
export interface Arm {
  readonly name: string
  readonly weight: number
}

export const ALL_WEIGHT = 10_000

/**
 * The arm of a unit: the first eight bytes of SHA-256 of `experiment:unit`, modulo 10,000. The same unit always gets the same
 * arm, without anything being stored, and anybody can check it.
 * @throws AppError `input_invalid` when the weights do not add up
 */
export function armOf<A extends Arm>(
  experimentId: string,
  unitId: string,
  arms: readonly A[],
  sha256: Sha256,
): A {
  assertWeights(arms)
  let ticket = ticketOf(sha256(`${experimentId}:${unitId}`))
  for (const arm of arms) {
    if (ticket < arm.weight) return arm
    ticket -= arm.weight
  }
  throw new RangeError('weights that add up leave no ticket over')
}

function ticketOf(digest: Uint8Array): number {
  let number = 0n
  for (const byte of digest.subarray(0, 8)) number = number * 256n + BigInt(byte)
  return Number(number % BigInt(ALL_WEIGHT))
}

/** @throws AppError `input_invalid` */
export function assertWeights(arms: readonly Arm[]): void {
  const sum = arms.reduce((total, { weight }) => total + weight, 0)
  const whole = arms.every(({ weight }) => Number.isInteger(weight) && weight > 0)
  if (arms.length >= 2 && whole && sum === ALL_WEIGHT) return
  throw new AppError(
    'input_invalid',
    `the weights of ${arms.length} arms add up to ${sum}, not to ${ALL_WEIGHT}`,
    {
      hint: 'Give two arms or more, each with a whole weight above 0, in parts of 10,000: 5000 and 5000 is half and half.',
    },
  )
}

declare const unit: unique symbol

/** Integer micro-dollars per hour: the only form in which a price is stored or compared. */
export type MicroUsd = number & { readonly [unit]: 'MicroUsd' }

/** From dollars, rounded to the nearest micro-dollar. Throws RangeError on a price that is not finite or below zero. */
export function fromUsd(usd: number): MicroUsd {
  if (!Number.isFinite(usd) || usd < 0) throw new RangeError(`not a price: ${usd}`)
  return Math.round(usd * 1e6) as MicroUsd
}

export const microUsd = (value: number): MicroUsd => value as MicroUsd

export const toUsd = (price: MicroUsd): number => price / 1e6

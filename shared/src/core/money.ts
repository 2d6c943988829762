declare const unit: unique symbol

/** Integer micro-dollars per hour: the only form in which a price is stored or compared. */
export type MicroUsd = number & { readonly [unit]: 'MicroUsd' }

/** From dollars, rounded to the nearest micro-dollar. Throws RangeError on a price that is not finite or below zero. */
export function fromUsd(usd: number): MicroUsd {
  if (!Number.isFinite(usd) || usd < 0) throw new RangeError(`not a price: ${usd}`)
  return Math.round(usd * 1e6) as MicroUsd
}

const DECIMAL = /^([+-]?)(\d{1,30})(?:\.(\d{1,30}))?$/

/**
 * Dollars as they come from outside, rounded to the nearest micro-dollar: a number, or a decimal without an exponent, which
 * is read digit by digit. undefined when it is neither; a negative amount stays negative, for the caller to refuse.
 */
export function parseUsd(usd: number | string): MicroUsd | undefined {
  if (typeof usd === 'number') return Number.isFinite(usd) ? (Math.round(usd * 1e6) as MicroUsd) : undefined
  const match = DECIMAL.exec(usd)
  if (!match) return undefined
  const fraction = (match[3] ?? '').padEnd(7, '0')
  const size = Number(match[2] + fraction.slice(0, 6)) + (fraction.charAt(6) >= '5' ? 1 : 0)
  return (match[1] === '-' ? -size : size) as MicroUsd
}

export const microUsd = (value: number): MicroUsd => value as MicroUsd

export const toUsd = (price: MicroUsd): number => price / 1e6

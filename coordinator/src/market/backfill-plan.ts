import { AppError } from '@understudy/shared/core/app-error'
import { type Instant, instant } from '@understudy/shared/core/time'
import { z } from 'zod'

/** What is asked of a backfill. */
export interface FetchRequest {
  readonly instanceTypes: readonly string[]
  readonly regions: readonly string[]
  readonly from: Instant
  readonly to: Instant
}

/** One question: small enough that doing it again after a crash costs little. */
export interface FetchPart {
  readonly region: string
  readonly instanceType: string
}

const MOST_PARTS = 50_000

const time = z.int().nonnegative().transform(instant)
const requestSchema = z.strictObject({
  instanceTypes: z
    .array(z.string().regex(/^[a-z0-9-]+\.[a-z0-9-]+$/, { error: 'must be like c5.large' }))
    .min(1),
  regions: z
    .array(z.string().regex(/^[a-z]{2,4}(-[a-z]+)+-\d+$/, { error: 'must be like ap-south-1' }))
    .min(1),
  from: time,
  to: time,
})

/** @throws AppError `input_invalid` that names what is wrong */
export function checkFetchRequest(request: unknown): FetchRequest {
  const parsed = requestSchema.safeParse(request)
  if (!parsed.success)
    throw new AppError('input_invalid', 'the fetch cannot be made as it was asked for', {
      errors: parsed.error.issues.map(({ path, message }) => ({ pointer: `/${path.join('/')}`, message })),
      hint: 'Give instance types, regions, and a time from which and up to which.',
    })
  const { from, to, instanceTypes, regions } = parsed.data
  if (from >= to) throw new AppError('input_invalid', 'the range of the fetch ends before it starts')
  const unique = { from, to, instanceTypes: [...new Set(instanceTypes)], regions: [...new Set(regions)] }
  if (unique.instanceTypes.length * unique.regions.length > MOST_PARTS)
    throw new AppError('input_invalid', `a fetch may be for at most ${MOST_PARTS} pairs of type and region`)
  return unique
}

/** The same request always gives the same parts in the same order: a stored position says where to go on. */
export const planParts = ({ instanceTypes, regions }: FetchRequest): FetchPart[] =>
  regions.flatMap((region) => instanceTypes.map((instanceType) => ({ region, instanceType })))

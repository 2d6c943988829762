import type { Instant } from '@understudy/shared/core/time'
import type { EngineName } from '@understudy/shared/pipeline/context'
import type { z } from 'zod'

/**
 * Something that decides. `decide` is pure: no clock, no chance, nothing read or written; the same input and configuration give
 * the same output. Both have been through their schemas, and the output is as its own says.
 */
export interface Engine {
  /** Never changes, as `spot_optimizer_v1`. */
  readonly id: string
  readonly name: string
  readonly version: string
  /** The last part of `/api/v1/ml/decision/…`. */
  readonly decision: EngineName
  /** What it decides, in a sentence. */
  readonly decides: string
  readonly description: string
  readonly input: z.ZodType
  readonly output: z.ZodType
  /** An object of which every field may be missing: `{}` is as usual. */
  readonly config: z.ZodType<Readonly<Record<string, unknown>>>
  /** An input that it takes, as somebody would write it. */
  readonly sample: unknown
  /** @throws AppError `input_invalid` */
  decide(input: unknown, config: unknown): unknown
  /** Whether it decides by itself, and why or why not. */
  standing(): { readonly enabled: boolean; readonly reason: string }
  measured(): Promise<Measured>
}

/** What is known of how it does. */
export interface Measured {
  /** Its last decision that is kept. */
  readonly last: { readonly at: Instant; readonly durationMs: number } | null
  /** How often another engine came to the same; null where nothing measures it. */
  readonly agreementRate: number | null
}

import { AppError } from '@understudy/shared/core/app-error'
import { type Clock, instant, millis, seconds, sleep } from '@understudy/shared/core/time'
import { z } from 'zod'
import type { ImdsSimulator } from './imds-simulator.ts'

/**
 * What happens to one metadata service, and when, in seconds after its start:
 *
 *     timeline:
 *       - { at: 5, rebalance: true }
 *       - { at: 20, interruption: { action: terminate, in: 120 } }
 *       - { at: 25, fault: { kind: status, status: 503, times: 3 } }
 *       - { at: 60, withdraw: true }
 */
const stepSchema = z.strictObject({
  at: z.number().min(0).max(86_400),
  rebalance: z.literal(true).optional(),
  /** `in` may be negative: a time that is over. Given again it moves. */
  interruption: z
    .strictObject({
      action: z.enum(['terminate', 'stop', 'hibernate']).default('terminate'),
      in: z.number().min(-86_400).max(86_400).default(120),
    })
    .optional(),
  withdraw: z.literal(true).optional(),
  fault: z
    .strictObject({
      kind: z.enum(['status', 'hang', 'slow', 'v1-only', 'content-type', 'cut']),
      status: z.int().min(300).max(599).optional(),
      delay: z.number().min(0).max(60).optional(),
      path: z.string().optional(),
      times: z.int().min(1).optional(),
    })
    .optional(),
  'clear-faults': z.literal(true).optional(),
  'forget-tokens': z.literal(true).optional(),
  /** A path below /latest/ and what stands there; null removes it. */
  set: z.record(z.string(), z.string().nullable()).optional(),
})

const scriptSchema = z.strictObject({ timeline: z.array(stepSchema) })
export type ImdsScript = z.infer<typeof scriptSchema>

/** @throws AppError `input_invalid` with every problem */
export function parseImdsScript(input: unknown): ImdsScript {
  const parsed = scriptSchema.safeParse(input)
  if (parsed.success) return { timeline: [...parsed.data.timeline].sort((a, b) => a.at - b.at) }
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'script'}: ${message}`)
  throw new AppError('input_invalid', `the script is not valid: ${problems.join('; ')}`, {
    hint: 'docs/imds-simulator.md describes it.',
  })
}

/** Plays the script from its beginning; resolves at its end or when `signal` aborts. */
export async function playScript(
  { timeline }: ImdsScript,
  simulator: ImdsSimulator,
  clock: Clock,
  say: (what: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const start = clock.mono()
  for (const step of timeline) {
    const wait = millis(Math.max(0, start + step.at * 1000 - clock.mono()))
    await sleep(clock, wait, signal).catch(() => undefined)
    if (signal.aborted) return
    say(`T+${step.at} s ${JSON.stringify(step)}`)
    apply(step, simulator, clock)
  }
}

function apply(step: ImdsScript['timeline'][number], simulator: ImdsSimulator, clock: Clock): void {
  if (step.rebalance) simulator.recommendRebalance(clock.now())
  if (step.interruption)
    simulator.announceInterruption(
      step.interruption.action,
      instant(clock.now() + step.interruption.in * 1000),
    )
  if (step.withdraw) simulator.withdrawInterruption()
  if (step.fault) {
    const { kind, status, delay, path, times } = step.fault
    simulator.fail({
      kind,
      ...(status === undefined ? {} : { status }),
      ...(delay === undefined ? {} : { delay: seconds(delay) }),
      ...(path === undefined ? {} : { path }),
      ...(times === undefined ? {} : { times }),
    })
  }
  if (step['clear-faults']) simulator.clearFaults()
  if (step['forget-tokens']) simulator.forgetTokens()
  for (const [path, body] of Object.entries(step.set ?? {})) simulator.set(path, body ?? undefined)
}

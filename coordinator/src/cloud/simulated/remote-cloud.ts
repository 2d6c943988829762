import { AppError, type ErrorCode, errorCodes, messageOf } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import { type MicroUsd, microUsd } from '@understudy/shared/core/money'
import { type Millis, millis } from '@understudy/shared/core/time'
import { instanceIdSchema, instantSchema } from '@understudy/shared/protocol/primitives'
import { z } from 'zod'
import type { Address, Cloud } from '../cloud.ts'

/** One call of the API. */
const TIMEOUT = 10_000

const poolSchema = z.object({ instanceType: z.string(), availabilityZone: z.string() })
const priceSchema = z
  .int()
  .nonnegative()
  .transform((value): MicroUsd => microUsd(value))

const offersSchema = z.array(
  z.object({
    pool: poolSchema,
    spotPrice: priceSchema,
    onDemandPrice: priceSchema,
    interruptionBand: z
      .union([z.literal(0), z.literal(1), z.literal(2), z.literal(3), z.literal(4)])
      .nullable(),
    at: instantSchema,
  }),
)

const describedSchema = z.object({
  instance: z
    .object({
      instanceId: instanceIdSchema,
      pool: poolSchema,
      state: z.enum(['pending', 'running', 'shutting-down', 'terminated', 'stopping', 'stopped']),
      privateIp: z.string().nullable(),
      launchedAt: instantSchema,
    })
    .optional(),
})

const didSchema = z.object({ did: z.string().optional() })

const failureSchema = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
  retryable: z.boolean(),
  facts: z.record(z.string(), z.unknown()).default({}),
})

/** The cloud of a coordinator whose instances are simulated by another process. */
export interface RemoteCloud {
  readonly cloud: Cloud
  readonly address: Address
  /** The strings that the demo's Interrupt button pulls. */
  interrupt(instanceId: InstanceId, lead: Millis | undefined): Promise<void>
}

export function createRemoteCloud(baseUrl: string): RemoteCloud {
  const call = async (
    method: string,
    path: string,
    body: unknown,
    signal?: AbortSignal,
  ): Promise<unknown> => {
    const limit = AbortSignal.timeout(TIMEOUT)
    const request: RequestInit = { method, signal: signal ? AbortSignal.any([signal, limit]) : limit }
    if (body !== undefined) {
      request.body = JSON.stringify(body)
      request.headers = { 'content-type': 'application/json' }
    }
    const response = await fetch(`${baseUrl}${path}`, request).catch((cause: unknown) => {
      throw new AppError(
        'unavailable',
        `the simulated cloud at ${baseUrl} does not answer (${messageOf(cause)})`,
        {
          hint: 'It runs inside `coordinator demo`; SIMULATED_CLOUD_URL must name it.',
          retryable: true,
          cause,
        },
      )
    })
    const answer: unknown = await response.json()
    if (response.ok) return answer
    const { code, message, hint, retryable, facts } = failureSchema.parse(answer)
    throw new AppError(code in errorCodes ? (code as ErrorCode) : 'internal', message, {
      hint,
      retryable,
      facts,
    })
  }

  return {
    cloud: {
      kind: 'simulated',
      canLaunch: true,
      offers: async (signal) => offersSchema.parse(await call('GET', '/offers', undefined, signal)),
      launch: async (spec, signal) =>
        z.object({ instanceId: instanceIdSchema }).parse(await call('POST', '/launch', spec, signal)),
      describe: async (id, signal) =>
        describedSchema.parse(await call('GET', `/instances/${id}`, undefined, signal)).instance,
      terminate: async (id, signal) => void (await call('DELETE', `/instances/${id}`, undefined, signal)),
    },
    address: {
      point: async (target, signal) =>
        didSchema.parse(await call('POST', '/address/point', target, signal)).did,
      drain: async (target, signal) =>
        didSchema.parse(await call('POST', '/address/drain', target, signal)).did,
    },
    interrupt: async (id, lead) =>
      void (await call(
        'POST',
        `/instances/${id}/interrupt`,
        lead === undefined ? {} : { leadMillis: millis(lead) },
      )),
  }
}

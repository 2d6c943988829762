import { AppError } from '@understudy/shared/core/app-error'
import { instant, seconds } from '@understudy/shared/core/time'
import { z } from 'zod'
import type { ReplayMarket, ReplayPool, Workload } from './replay-market.ts'

/** The form of github.com/skypilot-org/spot-traces: how many instances could be had at each tick. */
const traceSchema = z.object({
  metadata: z.object({ gap_seconds: z.number().positive() }),
  data: z.array(z.number().min(0)).min(2),
})
/** `us-east-1a_v100_1.json.gz`: zone, accelerator, how many of it. */
const NAME = /^([a-z]{2}(?:-[a-z]+)+-\d+[a-z])_([a-z0-9]+)_([a-z0-9]+)\.json(?:\.gz)?$/

export interface TraceFile {
  /** Without its folder. */
  readonly name: string
  readonly text: string
}

/** Prices are not part of a trace: every pool costs the same, so that only availability is compared. */
const SAME_PRICE = 1

/**
 * One market for each kind of instance in the files, with one workload for each zone to begin in.
 * @throws AppError `input_invalid` naming the file
 */
export function traceMarkets(files: readonly TraceFile[]): readonly {
  readonly name: string
  readonly market: ReplayMarket
  readonly workloads: readonly Workload[]
}[] {
  const byKind = new Map<string, Trace[]>()
  for (const file of files) {
    const read = readTrace(file)
    byKind.set(read.kind, [...(byKind.get(read.kind) ?? []), read])
  }
  return [...byKind]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, reads]) => {
      const market = toMarket(reads)
      return { name, market, workloads: workloadsOf(market) }
    })
}

/** One file: how many instances of a kind there were in a zone at each tick. */
export interface Trace {
  /** `v100.1`: accelerator or processor, and how many of it. */
  readonly kind: string
  readonly zone: string
  readonly gapSeconds: number
  readonly data: readonly number[]
}

/** @throws AppError `input_invalid` naming the file */
export function readTrace({ name, text }: TraceFile): Trace {
  const [, zone, accelerator, size] = NAME.exec(name) ?? []
  if (zone === undefined)
    throw new AppError('input_invalid', `${name} is not named like an availability trace`, {
      hint: 'Expected names such as us-east-1a_v100_1.json.gz: zone, kind, count.',
    })
  const parsed = traceSchema.safeParse(parseJson(text))
  if (!parsed.success)
    throw new AppError(
      'input_invalid',
      `${name} is no availability trace: ${z.prettifyError(parsed.error)}`,
      {
        hint: 'Expected {"metadata":{"gap_seconds":195},"data":[0,1,1]}.',
      },
    )
  const { metadata, data } = parsed.data
  return { kind: `${accelerator}.${size}`, zone, gapSeconds: metadata.gap_seconds, data }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function toMarket(reads: readonly Trace[]): ReplayMarket {
  const ticks = Math.min(...reads.map(({ data }) => data.length))
  const gap = Math.max(...reads.map(({ gapSeconds }) => gapSeconds))
  if (reads.some(({ gapSeconds }) => gapSeconds !== gap))
    throw new AppError('input_invalid', `the traces of ${reads[0]?.kind} have ticks of different length`)
  const pools = reads
    .map(
      ({ kind, zone, data }): ReplayPool => ({
        id: `${kind}@${zone}`,
        instanceType: kind,
        availabilityZone: zone,
        vcpu: 1,
        memGib: 1,
        arch: 'x86_64',
        gpu: 0,
        onDemandUsd: null,
        price: Float64Array.from({ length: ticks }, (_, i) => ((data[i] ?? 0) > 0 ? SAME_PRICE : Number.NaN)),
      }),
    )
    .sort((a, b) => (a.id < b.id ? -1 : 1))
  return { start: instant(0), tick: seconds(gap), ticks, pools, isBlind: () => false }
}

/** All begin at the first tick: a home that cannot be had then is waited for or left, as the policy does. */
const workloadsOf = ({ pools }: ReplayMarket): Workload[] =>
  pools.map(({ availabilityZone }, home) => ({
    name: `begins in ${availabilityZone}`,
    pools: pools.map((_, i) => i),
    home,
    vcpu: 1,
    memGib: 1,
    arch: 'x86_64',
    gpu: 0,
    onDemandUsd: null,
    from: 0,
  }))

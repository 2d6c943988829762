import { z } from 'zod'
import type { CatalogZone, InstanceType } from '../catalog-source.ts'

const architectures = ['x86_64', 'arm64', 'i386', 'x86_64_mac', 'arm64_mac'] as const
/** What an integer column of PostgreSQL holds; nothing that is counted here comes near. */
const MOST = 2 ** 31 - 1
const count = z.int().positive().max(MOST)
const name = z.string().max(200)

/** As much of DescribeInstanceTypes' record as is kept. */
const typeSchema = z.object({
  InstanceType: z.string().regex(/^[a-z0-9-]+\.[a-z0-9-]+$/),
  VCpuInfo: z.object({ DefaultVCpus: count }),
  MemoryInfo: z.object({ SizeInMiB: count }),
  ProcessorInfo: z.object({ SupportedArchitectures: z.array(z.string()) }),
  GpuInfo: z
    .object({ Gpus: z.array(z.object({ Name: name.optional(), Count: count.optional() })) })
    .nullish(),
  NetworkInfo: z
    .object({
      NetworkPerformance: z.string().nullish(),
      NetworkCards: z.array(z.object({ PeakBandwidthInGbps: z.number().nullish() })).nullish(),
    })
    .nullish(),
  BurstablePerformanceSupported: z.boolean().nullish(),
  BareMetal: z.boolean().nullish(),
})

/** From the SDK's answer, or from what the AWS command line prints. Undefined when it lacks what is needed. */
export function toInstanceType(record: unknown): InstanceType | undefined {
  const parsed = typeSchema.safeParse(record)
  if (!parsed.success) return undefined
  const info = parsed.data
  // A type that runs 32-bit software too is one for 64-bit software.
  const architecture = architectures.find((known) =>
    info.ProcessorInfo.SupportedArchitectures.includes(known),
  )
  if (!architecture) return undefined
  const gpus = info.GpuInfo?.Gpus ?? []
  const gpuCount = gpus.reduce((sum, gpu) => sum + (gpu.Count ?? 0), 0)
  if (gpuCount > MOST) return undefined
  return {
    instanceType: info.InstanceType,
    vcpu: info.VCpuInfo.DefaultVCpus,
    memoryMib: info.MemoryInfo.SizeInMiB,
    architecture,
    gpuCount,
    gpuName: gpus[0]?.Name ?? null,
    networkGbps: networkGbps(info),
    burstable: info.BurstablePerformanceSupported === true,
    bareMetal: info.BareMetal === true,
  }
}

function networkGbps({ NetworkInfo }: z.infer<typeof typeSchema>): number | null {
  const cards = NetworkInfo?.NetworkCards ?? []
  const peak = cards.reduce((sum, card) => sum + (card.PeakBandwidthInGbps ?? 0), 0)
  if (peak > 0) return peak
  const words = /(\d+(?:\.\d+)?) Gigabit/.exec(NetworkInfo?.NetworkPerformance ?? '')
  return words ? Number(words[1]) : null
}

const zoneSchema = z.object({ ZoneName: name, ZoneId: name, RegionName: name })

/** A zone that the account can use or opt in to. */
export function toZone(record: unknown): CatalogZone | undefined {
  const parsed = zoneSchema.safeParse(record)
  return parsed.success
    ? { name: parsed.data.ZoneName, id: parsed.data.ZoneId, region: parsed.data.RegionName }
    : undefined
}

import type { AvailabilityZone, InstanceTypeInfo } from '@aws-sdk/client-ec2'
import type { CatalogZone, InstanceType } from '../catalog-source.ts'

const architectures = ['x86_64', 'arm64', 'i386', 'x86_64_mac', 'arm64_mac'] as const

/** Undefined when EC2 leaves out what nothing can be decided without. Also reads what the AWS command line prints. */
export function toInstanceType(info: InstanceTypeInfo): InstanceType | undefined {
  const supported = info.ProcessorInfo?.SupportedArchitectures ?? []
  // A type that runs 32-bit software too is one for 64-bit software.
  const architecture = architectures.find((known) => supported.includes(known))
  const vcpu = info.VCpuInfo?.DefaultVCpus
  const memoryMib = info.MemoryInfo?.SizeInMiB
  if (!info.InstanceType || !architecture || !isCount(vcpu) || !isCount(memoryMib)) return undefined
  const gpus = info.GpuInfo?.Gpus ?? []
  return {
    instanceType: info.InstanceType,
    vcpu,
    memoryMib,
    architecture,
    gpuCount: gpus.reduce((sum, gpu) => sum + (gpu.Count ?? 0), 0),
    gpuName: gpus[0]?.Name ?? null,
    networkGbps: networkGbps(info),
    burstable: info.BurstablePerformanceSupported === true,
    bareMetal: info.BareMetal === true,
  }
}

/** A zone that the account can use or opt in to. */
export const toZone = ({ ZoneName, ZoneId, RegionName }: AvailabilityZone): CatalogZone | undefined =>
  ZoneName && ZoneId && RegionName ? { name: ZoneName, id: ZoneId, region: RegionName } : undefined

const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) > 0

function networkGbps({ NetworkInfo }: InstanceTypeInfo): number | null {
  const cards = NetworkInfo?.NetworkCards ?? []
  const peak = cards.reduce((sum, card) => sum + (card.PeakBandwidthInGbps ?? 0), 0)
  if (peak > 0) return peak
  const words = /(\d+(?:\.\d+)?) Gigabit/.exec(NetworkInfo?.NetworkPerformance ?? '')
  return words ? Number(words[1]) : null
}

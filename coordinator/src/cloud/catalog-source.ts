import type { MicroUsd } from '@understudy/shared/core/money'
import type { Instant } from '@understudy/shared/core/time'

/** Facts about what a region sells. Each answer is whole: all pages, or an error. */
export interface CatalogSource {
  /** @throws AppError `unavailable`, `forbidden`, `protocol` */
  instanceTypes(region: string, signal: AbortSignal): Promise<readonly InstanceType[]>
  /** Linux on shared hardware, without a licence in it. @throws AppError `unavailable`, `forbidden`, `protocol` */
  onDemandPrices(region: string, signal: AbortSignal): Promise<readonly OnDemandPrice[]>
  /** This account's names of the region's zones. @throws AppError `unavailable`, `forbidden`, `protocol` */
  zones(region: string, signal: AbortSignal): Promise<readonly CatalogZone[]>
}

export interface InstanceType {
  readonly instanceType: string
  readonly vcpu: number
  readonly memoryMib: number
  readonly architecture: 'x86_64' | 'arm64' | 'i386' | 'x86_64_mac' | 'arm64_mac'
  readonly gpuCount: number
  readonly gpuName: string | null
  /** Peak of all network cards; null where EC2 says it only in words. */
  readonly networkGbps: number | null
  readonly burstable: boolean
  readonly bareMetal: boolean
}

export interface OnDemandPrice {
  readonly instanceType: string
  readonly region: string
  readonly os: 'Linux'
  readonly price: MicroUsd
  /** Since when the price holds, as the price list says; null where it does not. */
  readonly asOf: Instant | null
}

export interface CatalogZone {
  readonly name: string
  readonly id: string
  readonly region: string
}

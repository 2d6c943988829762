import type { Arch } from '@understudy/shared/pipeline/context'
import type { InstanceType } from '../cloud/catalog-source.ts'

export interface TypeFacts {
  readonly vcpu: number
  readonly memGib: number
  readonly arch: Arch
  readonly gpu: number
}

/** What a type has: as the catalog says, else as its name says where names are regular. */
export function typeFacts(types: readonly InstanceType[]): (instanceType: string) => TypeFacts | undefined {
  const known = new Map(types.map((type) => [type.instanceType, type]))
  return (instanceType) => {
    const type = known.get(instanceType)
    if (!type) return byName(instanceType)
    if (type.architecture !== 'x86_64' && type.architecture !== 'arm64') return undefined
    return {
      vcpu: type.vcpu,
      memGib: type.memoryMib / 1024,
      arch: type.architecture,
      gpu: type.gpuCount,
    }
  }
}

/** GiB per vCPU of the compute, general and memory families from the fifth generation on. */
const GIB_PER_VCPU: Readonly<Record<string, number>> = { c: 2, m: 4, r: 8 }
const REGULAR = /^([cmr])([5-9])(a|i|g)?\.(large|(\d{0,2})xlarge)$/

function byName(instanceType: string): TypeFacts | undefined {
  const [, family = '', , maker, size, times] = REGULAR.exec(instanceType) ?? []
  const ratio = GIB_PER_VCPU[family]
  if (ratio === undefined) return undefined
  const vcpu = size === 'large' ? 2 : 4 * Number(times === '' ? 1 : times)
  return { vcpu, memGib: vcpu * ratio, arch: maker === 'g' ? 'arm64' : 'x86_64', gpu: 0 }
}

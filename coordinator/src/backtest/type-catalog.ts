import { AppError } from '@understudy/shared/core/app-error'
import type { Arch } from '@understudy/shared/pipeline/context'

/** What an instance type has and costs, as far as a file of them says. */
export interface TypeFacts {
  readonly vcpu: number
  readonly memGib: number
  readonly arch: Arch
  readonly gpu: number
  readonly onDemandUsd: number
}

const COLUMNS = ['region', 'instance_type', 'vcpu', 'memory_gib', 'ondemand_usd_per_hour'] as const

/**
 * By region and type, from CSV text. The file has no architecture and no GPUs: both follow from the family's name.
 * @throws AppError `input_invalid`
 */
export function readTypeCatalog(
  text: string,
): (region: string, instanceType: string) => TypeFacts | undefined {
  const [heading = '', ...lines] = text.split(/\r?\n/)
  const names = heading.split(',')
  if (!COLUMNS.every((name) => names.includes(name)))
    throw new AppError('input_invalid', 'the file of instance types lacks columns', {
      hint: `Its first line must name ${COLUMNS.join(',')}.`,
    })
  const at = COLUMNS.map((name) => names.indexOf(name))
  const facts = new Map<string, TypeFacts>()
  for (const line of lines) {
    const cells = line.split(',')
    const [region, instanceType = '', vcpu, memGib, onDemandUsd] = at.map((index) => cells[index] ?? '')
    const [cpus, gib, price] = [Number(vcpu), Number(memGib), Number(onDemandUsd)]
    if (cpus > 0 && gib > 0 && price > 0)
      facts.set(`${region} ${instanceType}`, {
        vcpu: cpus,
        memGib: gib,
        arch: archOf(instanceType),
        gpu: ACCELERATED.test(instanceType) ? 1 : 0,
        onDemandUsd: price,
      })
  }
  return (region, instanceType) => facts.get(`${region} ${instanceType}`)
}

/** Graviton families carry a g after their generation; the first of them was a1. */
const archOf = (instanceType: string): Arch => (/^(a1\.|[a-z]+\d+g)/.test(instanceType) ? 'arm64' : 'x86_64')

const ACCELERATED = /^(g\d|p\d|f\d|inf|trn|dl\d|vt\d)/

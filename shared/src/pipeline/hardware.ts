import { familyOf } from '../market/pool-groups.ts'
import { filtered, type Offer, type Requirement, type Stage } from './context.ts'

/** Keeps what is large enough, of the right architecture, and allowed. */
export const hardware: Stage = {
  name: 'hardware',
  run: (candidates, { requirement }) =>
    filtered(candidates, ({ offer }) => {
      const wrong = checks.find(({ fails }) => fails(offer, requirement))
      return wrong && { code: wrong.code, reason: wrong.reason(offer, requirement) }
    }),
}

interface Check {
  readonly code: string
  fails(offer: Offer, requirement: Requirement): boolean
  reason(offer: Offer, requirement: Requirement): string
}

const checks: readonly Check[] = [
  {
    code: 'ARCH_MISMATCH',
    fails: (offer, { arch }) => offer.arch !== arch,
    reason: (offer, { arch }) => `it is ${offer.arch}, and ${arch} is needed`,
  },
  {
    code: 'TOO_FEW_VCPU',
    fails: (offer, { vcpu }) => offer.vcpu < vcpu,
    reason: (offer, { vcpu }) => `it has ${offer.vcpu} vCPU, and ${vcpu} are needed`,
  },
  {
    code: 'TOO_LITTLE_MEMORY',
    fails: (offer, { memGib }) => offer.memGib < memGib,
    reason: (offer, { memGib }) => `it has ${offer.memGib} GiB, and ${memGib} are needed`,
  },
  {
    code: 'GPU_MISMATCH',
    fails: (offer, { gpu }) => (gpu === 0 ? offer.gpu > 0 : offer.gpu < gpu),
    reason: (offer, { gpu }) => `it has ${offer.gpu} GPUs, and ${gpu} are needed`,
  },
  {
    code: 'FAMILY_NOT_ALLOWED',
    fails: ({ instanceType }, { familiesAllowed, familiesDenied }) => {
      const family = familyOf({ instanceType })
      return familiesDenied.includes(family) || !(familiesAllowed?.includes(family) ?? true)
    },
    reason: ({ instanceType }) => `the family ${familyOf({ instanceType })} is not allowed`,
  },
  {
    code: 'ZONE_NOT_ALLOWED',
    fails: ({ availabilityZone }, { zonesAllowed }) => !(zonesAllowed?.includes(availabilityZone) ?? true),
    reason: ({ availabilityZone }) => `${availabilityZone} is not allowed`,
  },
]

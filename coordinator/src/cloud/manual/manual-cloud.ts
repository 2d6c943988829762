import { AppError } from '@understudy/shared/core/app-error'
import type { Address, Cloud } from '../cloud.ts'

/**
 * Instances that an operator starts. The coordinator knows nothing of pools and prices and asks for a new instance by
 * printing the command that makes one join; what has ended it learns from silence, leases and the operator.
 */
export const createManualCloud = (): Cloud => ({
  kind: 'manual',
  canLaunch: false,
  offers: () => Promise.resolve([]),
  launch: () =>
    Promise.reject(
      new AppError('not_supported', 'this coordinator does not launch instances itself', {
        hint: 'Start one in another pool and run the join command that creating a replica prints.',
      }),
    ),
  describe: () => Promise.resolve(undefined),
  terminate: () => Promise.resolve(),
})

/** Traffic is moved by the workload's own start hook, which runs on the new primary once the old one is fenced. */
export const createNoAddress = (): Address => ({
  point: () => Promise.resolve(undefined),
  drain: () => Promise.resolve(undefined),
})

import { AppError } from '@understudy/shared/core/app-error'
import { instanceId } from '@understudy/shared/core/ids'
import { expect, test } from 'vitest'
import { isReadyToSucceed } from './before-succession.ts'

const [dead, target, other] = [instanceId('i-dead'), instanceId('i-target'), instanceId('i-other')]

/** A primary whose replicas on `living` confirm everything. */
const primaryWith = (...living: ReturnType<typeof instanceId>[]) => ({
  async commit(_: number, keepers: () => readonly ReturnType<typeof instanceId>[]) {
    if (living.length === 0 || keepers().some((keeper) => !living.includes(keeper)))
      throw new AppError('not_ready', 'somebody does not have it')
    return living
  },
})

test('a successor that has ended does not hold up the one that replaces it', async () => {
  expect(await isReadyToSucceed(primaryWith(target, other), target)).toBe(true)
})

test('a replica that has not confirmed everything does not succeed, whoever else has', async () => {
  await expect(isReadyToSucceed(primaryWith(other), target)).rejects.toMatchObject({ code: 'not_ready' })
  await expect(isReadyToSucceed(primaryWith(), dead)).rejects.toMatchObject({ code: 'not_ready' })
})

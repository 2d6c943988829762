import { setTimeout as sleep } from 'node:timers/promises'
import { isAppError } from '@understudy/shared/core/app-error'
import { type Random, randomInt, seededRandom } from '@understudy/shared/core/random'
import { millis } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { pair, REPLICA, until } from './testing.ts'
import { editAttributes, editSomething, fullPicture } from './testing-edits.ts'
import { createNetwork, type TestNetwork } from './testing-network.ts'

/**
 * A primary and a replica over TLS, while anything at all is done to the state and to the network between them.
 * `EDIT_SEEDS=100-300` runs those seeds instead of the usual few; each takes about a second.
 */
const seeds = seedsOf(process.env.EDIT_SEEDS ?? '1-10')

function seedsOf(range: string): number[] {
  const [first = 1, last = first] = range.split('-').map(Number)
  return Array.from({ length: last - first + 1 }, (_, index) => first + index)
}

type Pair = Awaited<ReturnType<typeof pair>>

const SEAL = millis(20_000)

/** What happens between edits. */
async function interfere(random: Random, { primary, replica, to, follow }: Pair, network: TestNetwork) {
  switch (randomInt(random, 0, 9)) {
    case 0:
      return network.cut()
    case 1:
      return network.cutAfter(randomInt(random, 1, 60_000))
    case 2:
      await replica.stopFollowing()
      // On a replica that follows nobody anything may happen.
      for (let i = randomInt(random, 0, 4); i > 0; i -= 1) editSomething(random, to)
      return follow(network.port)
    case 3:
      return primary.flush(millis(500))
    case 4:
      network.stall()
      await sleep(randomInt(random, 1, 30))
      return network.flow()
    case 5:
    case 6:
      return sleep(randomInt(random, 0, 30))
  }
}

/** A seal may fail because the network was cut just now; the next one does not. */
async function seal({ primary }: Pair): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    await until(() => primary.lags()[0]?.lag.attached ?? false)
    try {
      await primary.seal(REPLICA, SEAL, false)
      return
    } catch (error) {
      // That the trees differ is never a matter of the network.
      if (attempt === 5 || !isAppError(error) || error.code === 'conflict') throw error
    }
  }
}

test.each(seeds)(
  'whatever is done to the state and to the network, after a seal both trees are the same (seed %i)',
  async (seed) => {
    const random = seededRandom(seed)
    const both = await pair()
    const { from, to, primary, replica, follow } = both
    const network = await createNetwork(primary.port)
    for (let i = 0; i < 25; i += 1) editSomething(random, from)
    for (let i = 0; i < 25; i += 1) editSomething(random, to)
    follow(network.port)
    for (let round = 0; round < 6; round += 1) {
      for (let step = 0; step < 4; step += 1) {
        for (let i = randomInt(random, 1, 12); i > 0; i -= 1) editSomething(random, from)
        if (random() < 0.2) editAttributes(random, from)
        await interfere(random, both, network)
      }
      await seal(both)
      expect(await fullPicture(to), `seed ${seed}, round ${round}`).toEqual(await fullPicture(from))
    }
    primary.stopServing()
    await replica.finish(false)
    expect(await fullPicture(to), `seed ${seed}, at the end`).toEqual(await fullPicture(from))
  },
  60_000,
)

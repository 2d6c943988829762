import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isAppError } from '@understudy/shared/core/app-error'
import { type Random, randomInt, seededRandom } from '@understudy/shared/core/random'
import { millis } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { testIdentity } from '../identity/testing.ts'
import { closeInstance, openInstance, PRIMARY, REPLICA, scratch, TOKEN, until } from './testing.ts'
import { editAttributes, editSomething, fullPicture } from './testing-edits.ts'
import { createNetwork } from './testing-network.ts'

/**
 * Edits, cuts, stalls and restarts of both ends for a long time. `SOAK=10` runs it for ten minutes; `SOAK_SEED` says
 * what happens.
 */
const minutes = Number(process.env.SOAK ?? 0)
const seed = Number(process.env.SOAK_SEED ?? Date.now() % 100_000)

const MIB = 1024 * 1024

/** What is in use once nothing is left to collect. */
function inUse(): { bytes: number; files: number } {
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return { bytes: heapUsed + arrayBuffers, files: readdirSync('/proc/self/fd').length }
}

/** Both ends and what is between them; each can be replaced. */
async function bothEnds() {
  const [primaryIdentity, replicaIdentity] = await testIdentity(PRIMARY, REPLICA)
  const [from, to] = [scratch(), scratch()]
  const limits = { limits: { verify: { every: millis(1000), share: 20 } } }
  const openPrimary = async () => {
    const opened = await openInstance(primaryIdentity, from, limits)
    await opened.serve(1)
    opened.allow(1, [{ instanceId: REPLICA, token: TOKEN }])
    return opened
  }
  let primary = await openPrimary()
  let replica = await openInstance(replicaIdentity, to, limits)
  const network = await createNetwork(primary.port)
  const follow = () =>
    replica.follow(1, { instanceId: PRIMARY, host: '127.0.0.1', port: network.port, token: TOKEN })
  follow()
  return {
    from: join(from, 'state'),
    to: join(to, 'state'),
    follow,
    get primary() {
      return primary
    },
    get replica() {
      return replica
    },
    network,
    async restartPrimary() {
      await closeInstance(primary)
      primary = await openPrimary()
      network.leadTo(primary.port)
    },
    async restartReplica() {
      await closeInstance(replica)
      replica = await openInstance(replicaIdentity, to, limits)
      follow()
    },
  }
}

type Ends = Awaited<ReturnType<typeof bothEnds>>

async function interfere(random: Random, ends: Ends): Promise<void> {
  switch (randomInt(random, 0, 40)) {
    case 0:
      return ends.restartPrimary()
    case 1:
      return ends.restartReplica()
    case 2:
      await ends.replica.stopFollowing()
      for (let i = randomInt(random, 0, 4); i > 0; i -= 1) editSomething(random, ends.to)
      return ends.follow()
    case 3:
    case 4:
      return ends.network.cut()
    case 5:
    case 6:
      return ends.network.cutAfter(randomInt(random, 1, 300_000))
    case 7:
      ends.network.stall()
      await sleep(randomInt(random, 1, 200))
      return ends.network.flow()
    case 8:
      return ends.network.slow(randomInt(random, 0, 3) * MIB)
    case 9:
      return ends.primary.flush(millis(500))
    case 10:
      return editAttributes(random, ends.from)
    case 11:
      await ends.primary.commit(millis(300)).catch(() => undefined)
      return
    default:
      return sleep(randomInt(random, 0, 60))
  }
}

/** Both trees are the same after a seal; what keeps a seal from ending is only ever the network. */
async function compare(ends: Ends, when: string): Promise<void> {
  ends.network.flow()
  ends.network.slow(0)
  for (let attempt = 1; ; attempt += 1) {
    await until(() => ends.primary.lags()[0]?.lag.attached ?? false).catch((error: Error) => {
      const { replica, primary, network } = ends
      const state = {
        lags: primary.lags(),
        progress: replica.progress,
        whole: replica.whole,
        open: network.open,
      }
      throw new Error(`${when}: ${error.message}: ${JSON.stringify(state)} ${replica.trouble?.message}`)
    })
    try {
      await ends.primary.seal(REPLICA, millis(20_000), false)
      break
    } catch (error) {
      if (attempt === 5 || !isAppError(error) || error.code === 'conflict') throw error
    }
  }
  expect(await fullPicture(ends.to), when).toEqual(await fullPicture(ends.from))
  expect(ends.primary.lags()[0]?.lag.verified.mismatches, when).toBe(0)
}

test.skipIf(!(minutes > 0))(
  `for ${minutes} minutes both trees are the same whenever one looks, and memory does not grow (seed ${seed}; skipped without SOAK=<minutes>)`,
  async () => {
    const random = seededRandom(seed)
    const ends = await bothEnds()
    const started = performance.now()
    const over = started + minutes * 60_000
    let warm: ReturnType<typeof inUse> | undefined
    let rounds = 0
    for (; performance.now() < over; rounds += 1) {
      for (let step = randomInt(random, 5, 40); step > 0; step -= 1) {
        for (let i = randomInt(random, 1, 15); i > 0; i -= 1) editSomething(random, ends.from)
        await interfere(random, ends)
      }
      await compare(ends, `seed ${seed}, round ${rounds}`)
      if (performance.now() > started + minutes * 15_000) warm ??= inUse()
    }
    const after = inUse()
    console.info(
      `seed ${seed}: ${rounds} rounds, in use ${JSON.stringify(warm)}, then ${JSON.stringify(after)}`,
    )
    expect(after.bytes).toBeLessThan((warm?.bytes ?? 0) + 30 * MIB)
    expect(after.files).toBeLessThan((warm?.files ?? 0) + 20)
  },
  (minutes + 1) * 60_000,
)

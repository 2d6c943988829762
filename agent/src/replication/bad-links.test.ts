import { randomBytes } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { randomInt, seededRandom } from '@understudy/shared/core/random'
import { millis } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { oneToMany, pair, REPLICA, until } from './testing.ts'
import { fullPicture } from './testing-edits.ts'
import { createNetwork } from './testing-network.ts'

/** Networks that are slow, break, or stand still, and replicas that do not keep up. */

const MIB = 1024 * 1024
const random = seededRandom(1)
/** Bytes that do not compress, so that what goes over the network can be counted. */
const noise = (bytes: number): Buffer => randomBytes(bytes)

async function connected(bytes = 0, options = {}) {
  const both = await pair(undefined, undefined, options)
  const network = await createNetwork(both.primary.port)
  if (bytes > 0) writeFileSync(join(both.from, 'first'), noise(bytes))
  const attached = () => both.replica.whole && (both.primary.lags()[0]?.lag.attached ?? false)
  const sealed = async () => {
    await both.primary.seal(REPLICA, millis(20_000), false)
    expect(await fullPicture(both.to)).toEqual(await fullPicture(both.from))
  }
  return { ...both, network, attached, sealed }
}

test('a first copy that is cut again and again goes on where it was: little is sent twice', async () => {
  const { network, follow, attached, sealed, from } = await connected(24 * MIB)
  for (let i = 0; i < 50; i += 1) writeFileSync(join(from, `small ${i}`), noise(3000))
  let cuts = 0
  follow(network.port)
  for (; !attached(); cuts += 1) {
    const { opened } = network
    network.cutAfter(randomInt(random, 2 * MIB, 5 * MIB))
    await until(() => attached() || network.opened > opened)
    if (cuts > 30) throw new Error('it never ends')
  }
  expect(cuts).toBeGreaterThan(3)
  // What was under way at a cut, at most a few batches each time, is all that comes again.
  expect(network.down).toBeLessThan((24 + 2.5 * cuts) * MIB)
  await sealed()
})

test('a group that is cut in the middle is completed, and what was taken of it is not sent again', async () => {
  const { network, follow, attached, sealed, from, copies } = await connected(1000)
  follow(network.port)
  await until(attached)
  network.cutAfter(10 * MIB)
  const { down } = network
  writeFileSync(join(from, 'group'), noise(20 * MIB))
  await until(() => network.opened === 2 && network.down > down + 20 * MIB)
  await sealed()
  expect(network.down - down).toBeLessThan(24 * MIB)
  // It was never a mixture.
  expect(copies).toEqual([true])
})

test('a network that stands still delays what is sent and loses nothing; the workload does not wait', async () => {
  const { network, follow, attached, sealed, from, primary } = await connected(100_000)
  follow(network.port)
  await until(attached)
  network.stall()
  for (let i = 0; i < 300; i += 1) appendFileSync(join(from, 'log'), noise(10_000))
  await until(() => (primary.lags()[0]?.lag.bytes ?? 0) > 2_900_000)
  await expect(primary.seal(REPLICA, millis(150), false)).rejects.toMatchObject({ code: 'not_ready' })
  network.flow()
  await sealed()
  expect(network.opened).toBe(1)
})

test('a slow network is used in full, and a file that changes meanwhile is sent as it is in the end', async () => {
  const { network, follow, attached, sealed, from, to } = await connected(1000)
  follow(network.port)
  await until(attached)
  network.slow(2 * MIB)
  writeFileSync(join(from, 'large'), noise(2 * MIB))
  const changing = join(from, 'changing')
  for (let i = 0; i < 40; i += 1) {
    writeFileSync(changing, noise(400_000))
    await sleep(5)
  }
  const { down } = network
  await sealed()
  // Sixteen megabytes were written, and most of them were never sent.
  expect(network.down - down).toBeLessThan(6 * MIB)
  expect(readFileSync(join(to, 'changing'))).toEqual(readFileSync(changing))
})

test('a replica that is told to stop stops, however far it is', async () => {
  const { network, follow, attached, replica } = await connected(3 * MIB)
  for (let wait = 0; wait < 40; wait += 4) {
    follow(network.port)
    if (wait > 0) await sleep(wait)
    await replica.stopFollowing()
  }
  follow(network.port)
  await until(attached)
})

/** The timers that run for connections of this port, as the kernel shows them: 2 is that of keep-alive. */
const kernelTimers = (port: number): string[] =>
  readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([, ...fields]) =>
        fields[2] === '01' &&
        fields.slice(0, 2).some((end) => Number.parseInt(end?.split(':')[1] ?? '', 16) === port),
    )
    .map((fields) => fields[5]?.slice(0, 2) ?? '')

test.skipIf(!existsSync('/proc/net/tcp'))(
  'a machine that has vanished is noticed: both ends ask whether the other is there (skipped without /proc/net/tcp)',
  async () => {
    const { primary, follow, attached, replica } = await pair().then((both) => ({
      ...both,
      attached: () => both.replica.whole && (both.primary.lags()[0]?.lag.attached ?? false),
    }))
    follow()
    await until(attached)
    // Once nothing is under way any more.
    await until(() => kernelTimers(primary.port).join() === '02,02')
    await replica.stopFollowing()
  },
)

test('a break during a seal does not end it', async () => {
  const { network, follow, attached, sealed, from } = await connected(1000)
  follow(network.port)
  await until(attached)
  for (let round = 0; round < 5; round += 1) {
    writeFileSync(join(from, `file ${round}`), noise(MIB))
    network.cutAfter(randomInt(random, 1, MIB + 8000))
    await sealed().catch(async (error: { code?: string }) => {
      // It was cut off just when it began.
      expect(error.code).toBe('unavailable')
      await until(attached)
      await sealed()
    })
  }
})

test('a break longer than a resume may take is a new stream, and compares', async () => {
  const { network, follow, attached, sealed, from, replica, primary } = await connected(5 * MIB)
  follow(network.port)
  await until(attached)
  await replica.stopFollowing()
  appendFileSync(join(from, 'first'), noise(100))
  renameSync(join(from, 'first'), join(from, 'second'))
  linkSync(join(from, 'second'), join(from, 'third'))
  primary.allow(1, [])
  primary.allow(1, [{ instanceId: REPLICA, token: 'a'.repeat(40) }])
  follow(network.port)
  await until(() => network.opened === 2)
  await until(attached)
  await sealed()
})

test('of a sparse file the holes stay holes, and cost no time to send', async () => {
  const { network, follow, attached, sealed, from, to } = await connected(1000)
  follow(network.port)
  await until(attached)
  const { down } = network
  writeFileSync(join(from, 'sparse'), noise(5000))
  truncateSync(join(from, 'sparse'), 150 * MIB)
  mkdirSync(join(from, 'd'))
  writeFileSync(join(from, 'd/sparse too'), '')
  truncateSync(join(from, 'd/sparse too'), 4096 * 1000 + 17)
  await sealed()
  truncateSync(join(from, 'sparse'), 160 * MIB + 1)
  appendFileSync(join(from, 'sparse'), noise(5000))
  await sealed()
  expect(network.down - down).toBeLessThan(100_000)
  expect(statSync(join(to, 'sparse')).blocks * 512).toBeLessThan(64 * 1024)
  expect(statSync(join(to, 'd/sparse too')).blocks * 512).toBeLessThan(64 * 1024)
})

test('one replica that reads nothing holds up neither the others nor the workload, and takes no memory without end', async () => {
  const memoryBytes = 6 * MIB
  const { from, primary, replicas } = await oneToMany(3, { limits: { memoryBytes } })
  const networks = await Promise.all(replicas.map(() => createNetwork(primary.port)))
  for (const [index, { follow }] of replicas.entries()) follow(networks[index]?.port)
  const lagOf = (index: number) =>
    primary.lags().find(({ instance }) => instance === replicas[index]?.name)?.lag
  await until(() => [0, 1, 2].every((index) => lagOf(index)?.attached))
  networks[2]?.stall()
  const before = process.memoryUsage().arrayBuffers
  let [slowest, most] = [0, 0]
  for (let i = 0; i < 30; i += 1) {
    const started = performance.now()
    writeFileSync(join(from, `file ${i % 15}`), noise(MIB))
    slowest = Math.max(slowest, performance.now() - started)
    await until(() => [0, 1].every((index) => (lagOf(index)?.bytes ?? Infinity) < 4 * MIB))
    most = Math.max(most, process.memoryUsage().arrayBuffers - before)
  }
  const committing = performance.now()
  expect(await primary.commit(millis(45_000))).not.toContain(replicas[2]?.name)
  expect(performance.now() - committing).toBeLessThan(30_000)
  await until(() => [0, 1].every((index) => lagOf(index)?.bytes === 0))
  expect(lagOf(2)?.bytes).toBeGreaterThan(10 * MIB)
  // What the stalled one has under way, both ends of the others in this process, and what waits to be collected.
  expect(most).toBeLessThan(100 * MIB)
  expect(lagOf(2)?.batches).toBeLessThanOrEqual(3)
  networks[2]?.flow()
  await until(() => lagOf(2)?.bytes === 0)
  const picture = await fullPicture(from)
  for (const { name, to } of replicas) {
    await primary.seal(name, millis(20_000), false)
    expect(await fullPicture(to)).toEqual(picture)
  }
  // The stalled one is held for as long as all of this takes: a write that waited for it would have hung.
  expect(slowest).toBeLessThan(20_000)
})

test('a bandwidth limit holds for what is sent, and not for a seal', async () => {
  const bytesPerSecond = MIB
  const { network, follow, attached, sealed, from } = await connected(1000, { limits: { bytesPerSecond } })
  follow(network.port)
  await until(attached)
  const [down, started] = [network.down, performance.now()]
  writeFileSync(join(from, 'bulk'), noise(40 * MIB))
  await until(() => network.down > down + 4 * MIB)
  // However slow the machine is, it is never above the limit.
  const rate = ((network.down - down) / (performance.now() - started)) * 1000
  expect(rate).toBeLessThan(bytesPerSecond * 1.2)
  // At the limit the rest would take longer than a seal may.
  await sealed()
})

test('a planned seal ends soon after its replica has gone', async () => {
  const { network, follow, attached, from, primary, replica } = await connected(100_000)
  follow(network.port)
  await until(attached)
  network.stall()
  appendFileSync(join(from, 'log'), noise(100_000))
  const began = performance.now()
  const sealing = primary.seal(REPLICA, millis(20_000), false)
  const refused = expect(sealing).rejects.toMatchObject({ message: 'the replica has disconnected' })
  await sleep(100)
  await replica.stopFollowing()
  network.cut()
  await refused
  expect(performance.now() - began).toBeLessThan(15_000)
})

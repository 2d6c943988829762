import { hash } from 'node:crypto'
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { instanceId } from '@understudy/shared/core/ids'
import { systemClock } from '@understudy/shared/core/time'
import { encodeOps, FrameFlag, FrameType, type Op } from '@understudy/shared/protocol/replication'
import { pino } from 'pino'
import { afterEach } from 'vitest'
import { type TestIdentity, testIdentity } from '../identity/testing.ts'
import { createCompressor } from './compression.ts'
import { checkFrame, packFrame, unpackBody } from './frames.ts'
import type { ReceiverStore } from './receiver-store.ts'
import { openReplication, type Replication, type ReplicationOptions } from './replication.ts'
import type { Xattrs } from './xattrs.ts'

/** A primary and a replica in one process, for tests. */

const log = pino({ level: process.env.TEST_LOG ?? 'silent' })
const cleanups: (() => Promise<void> | void)[] = []
const instances = new Set<Replication>()
afterEach(async () => {
  for (const instance of [...instances].reverse()) await closeInstance(instance)
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

export const PRIMARY = instanceId('i-primary1')
export const REPLICA = instanceId('i-replica1')
export const TOKEN = 'a'.repeat(40)

export function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-replication-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** One instance, whose state is in `<base>/state`; opened again after `close` it is the same one. */
export async function openInstance(
  identity: TestIdentity,
  base: string,
  options: PairOptions,
  onCopy: () => void = () => {},
): Promise<Replication> {
  const state = join(base, 'state')
  mkdirSync(state, { recursive: true })
  const replication = await openReplication({
    self: identity.self.instance,
    identity,
    stateDirectories: [state],
    random: Math.random,
    ...options,
    dataDirectory: join(base, 'data'),
    host: '127.0.0.1',
    port: 0,
    clock: systemClock,
    log,
    onCopy,
  })
  instances.add(replication)
  return replication
}

export async function closeInstance(instance: Replication): Promise<void> {
  instances.delete(instance)
  await instance.close()
}

export type PairOptions = Pick<
  Partial<ReplicationOptions>,
  'limits' | 'selection' | 'recordDirectory' | 'random'
>

/** A primary, and a replica that follows it on demand; `copies` is what it said about its copy, in order. */
export async function pair(
  to = scratch(),
  identities?: readonly [TestIdentity, TestIdentity],
  options: PairOptions = {},
) {
  const from = scratch()
  const [primaryIdentity, replicaIdentity] = identities ?? (await testIdentity(PRIMARY, REPLICA))
  const primary = await openInstance(primaryIdentity, from, options)
  const copies: boolean[] = []
  const replica: Replication = await openInstance(replicaIdentity, to, options, () =>
    copies.push(replica.whole),
  )
  await primary.serve(1)
  primary.allow(1, [{ instanceId: REPLICA, token: TOKEN }])
  const follow = (port = primary.port) =>
    replica.follow(1, { instanceId: PRIMARY, host: '127.0.0.1', port, token: TOKEN })
  return { from: join(from, 'state'), to: join(to, 'state'), primary, replica, follow, copies }
}

/** A primary, and as many replicas, each with where it dials in and where its state is. */
export async function oneToMany(count: number, options: PairOptions = {}) {
  const from = scratch()
  const names = Array.from({ length: count }, (_, index) => instanceId(`i-replica${index + 1}`))
  const [identity, ...identities] = await testIdentity(PRIMARY, ...names)
  const primary = await openInstance(identity, from, options)
  await primary.serve(1)
  primary.allow(
    1,
    names.map((name) => ({ instanceId: name, token: TOKEN })),
  )
  const replicas = await Promise.all(
    identities.map(async (own) => {
      const to = scratch()
      const replica = await openInstance(own, to, options)
      const follow = (port = primary.port) =>
        replica.follow(1, { instanceId: PRIMARY, host: '127.0.0.1', port, token: TOKEN })
      return { name: own.self.instance, to: join(to, 'state'), replica, follow }
    }),
  )
  return { from: join(from, 'state'), primary, replicas }
}

export const noXattrs: Xattrs = {
  available: false,
  read: async (paths) => paths.map(() => ''),
  readTree: async () => new Map(),
  write: async () => undefined,
  writeAll: async (entries) => entries.map(() => undefined),
}

export const zstdOnly = createCompressor(['zstd'], () => 0)

/** One batch of epoch 1, as it comes over the network. */
export function frameOf(seq: number, ops: readonly Op[], flags: number = FrameFlag.last) {
  const body = encodeOps(ops)
  const frame = packFrame({ type: FrameType.batch, epoch: 1, seq, flags, body }, zstdOnly)
  return { frame, header: checkFrame(frame) }
}

/** What a replica does with a batch. */
export async function take(store: ReceiverStore, { frame, header }: ReturnType<typeof frameOf>) {
  if (header.flags & FrameFlag.bulk) await store.place(header, unpackBody(frame, header))
  else await store.journal(header, frame)
}

/** Everything below a directory, in a form that can be compared. */
export function picture(directory: string, prefix = ''): Record<string, string> {
  const names: Record<string, string> = {}
  for (const name of readdirSync(join(directory, prefix)).sort()) {
    const path = join(prefix, name)
    const full = join(directory, path)
    const stat = lstatSync(full)
    const mode = (stat.mode & 0o7777).toString(8)
    if (stat.isDirectory()) Object.assign(names, { [path]: `dir ${mode}` }, picture(directory, path))
    else if (stat.isSymbolicLink()) names[path] = `link ${readlinkSync(full)}`
    else
      names[path] =
        `file ${mode} ${stat.size} ${Math.floor(stat.mtimeMs)} ${hash('sha256', readFileSync(full))}`
  }
  return names
}

/** Longer than anything takes where many tests share two processors; what hangs ends here. */
const PATIENCE = 30_000

export const until = async (holds: () => boolean) => {
  const deadline = performance.now() + PATIENCE
  while (!holds()) {
    if (performance.now() > deadline)
      throw new Error(`it did not happen within ${PATIENCE / 1000} s: ${holds}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { agentId } from '@understudy/shared/core/ids'
import { type Clock, formatMillis } from '@understudy/shared/core/time'
import { agentIdSchema } from '@understudy/shared/protocol/primitives'
import { pino } from 'pino'
import { enrolmentIn, openDataDirectory, statusSocketOf } from '../config/data-directory.ts'
import type { AgentConfig } from '../config/options.ts'
import { readEnrolment } from '../link/enrolment.ts'
import { checkStateDirectories, forgetCopy, vouchForCopy } from '../replication/replication.ts'
import { openStore } from './open-store.ts'
import { describeRestored, type RestoreProgressReport, restore } from './restore.ts'
import { openRestoreMark } from './restore-mark.ts'
import { askSnapshot, type SnapshotAnswer } from './snapshot-socket.ts'
import { createSnapshotStore, type SnapshotStore } from './snapshot-store.ts'
import { openState } from './state.ts'
import { discardedIn } from './state-directories.ts'

/** What the command line does with snapshots. Facts go to standard output, progress to standard error. */
export interface CommandSurroundings {
  readonly config: AgentConfig
  readonly json: boolean
  /** Whose snapshots; by default those of the agent that this instance has joined. */
  readonly agent: string | undefined
  readonly clock: Clock
  readonly print: (text: string) => unknown
  readonly progress: (text: string) => unknown
}

/** @throws AppError `config_invalid`, `unauthenticated` */
async function openFor({
  config,
  agent,
  clock,
}: CommandSurroundings): Promise<{ store: SnapshotStore; id: string }> {
  const joined = readEnrolment(enrolmentIn(config.data_dir))?.agentId
  const id = agent ?? joined
  if (id === undefined)
    throw new AppError('unauthenticated', 'this instance has not joined an agent yet', {
      hint: 'Say whose snapshots are meant: --agent <id>',
    })
  if (!agentIdSchema.safeParse(id).success) throw new AppError('input_invalid', `"${id}" is no agent id`)
  return { store: createSnapshotStore(await openStore(config, clock), agentId(id)), id }
}

/** `snapshots`: what is there, the newest first. */
export async function listSnapshots(parts: CommandSurroundings): Promise<number> {
  const { json, print, clock } = parts
  const { store, id: agent } = await openFor(parts)
  const signal = AbortSignal.timeout(60_000)
  const rows = []
  for (const { id } of await store.names(signal)) {
    try {
      const { taken_at, epoch, instance_id, workload, tree, packs, unreadable } = await store.read(id, signal)
      const stored = packs.reduce((sum, { bytes }) => sum + bytes, 0)
      rows.push({
        id,
        taken_at,
        epoch,
        instance_id,
        workload,
        state_bytes: tree.bytes,
        stored_bytes: stored,
        unreadable,
      })
    } catch (error) {
      if (!isAppError(error, 'state_unreadable') && !isAppError(error, 'not_found')) throw error
      rows.push({ id, problem: error.message })
    }
  }
  if (json) {
    print(
      `${JSON.stringify({ schema: 'understudy.snapshots/v1', store: store.name, agent_id: agent, snapshots: rows })}\n`,
    )
    return 0
  }
  if (rows.length === 0) print(`# no snapshot of ${agent} in ${store.name}\n`)
  for (const row of rows)
    print(
      'problem' in row
        ? `${row.id}  damaged: ${row.problem}\n`
        : `${row.id}  ${ageOf(row.taken_at, clock)} old, epoch ${row.epoch}, ${row.instance_id}, ${row.state_bytes} bytes (${row.stored_bytes} stored), workload ${row.workload}\n`,
    )
  return 0
}

const ageOf = (takenAt: string, clock: Clock): string => formatMillis(clock.now() - Date.parse(takenAt))

/** `restore`: without a running agent, whose data directory it takes. */
export async function restoreCommand(
  parts: CommandSurroundings & {
    readonly at: string | undefined
    readonly force: boolean
    readonly signal: AbortSignal
  },
): Promise<number> {
  const { config, json, print, progress, clock, at, force, signal } = parts
  checkStateDirectories(config.workload.state)
  const data = openDataDirectory(config.data_dir)
  try {
    const { store } = await openFor(parts)
    const log = pino({ level: 'warn', base: null }, pino.destination({ dest: 2, sync: true }))
    const restored = await restore(
      {
        store,
        state: await openState(config.workload, log),
        mark: openRestoreMark(data.restore),
        discarded: discardedIn(data.replication),
        onBegin: () => forgetCopy(data.replication),
        clock,
        log,
      },
      { at, force, signal, onProgress: (report) => progress(lineOf(report)) },
    )
    await vouchForCopy(data.replication)
    store.close()
    const { snapshot, age, took, movedTo, resumedAt } = restored
    if (json)
      print(
        `${JSON.stringify({
          schema: 'understudy.restored/v1',
          id: snapshot.id,
          taken_at: snapshot.taken_at,
          age_ms: Math.round(age),
          took_ms: Math.round(took),
          state_bytes: snapshot.tree.bytes,
          names: snapshot.tree.names,
          resumed_at_pack: resumedAt,
          moved_to: movedTo ?? null,
        })}\n`,
      )
    else
      print(
        `restored ${describeRestored(restored)}\n${movedTo ? `what was there before is in ${movedTo}\n` : ''}`,
      )
    return 0
  } finally {
    data.unlock()
  }
}

const lineOf = ({ packs, packs_total, bytes, bytes_total }: RestoreProgressReport): string =>
  `pack ${packs} of ${packs_total}, ${bytes} of ${bytes_total} bytes\n`

/** `snapshot`: asks the running agent to make one now. Exit code 1 when it could not. */
export async function snapshotCommand(parts: CommandSurroundings): Promise<number> {
  const { config, json, print, progress } = parts
  let last: SnapshotAnswer | undefined
  for await (const answer of askSnapshot(statusSocketOf(config.data_dir))) {
    last = answer
    if (answer.kind === 'progress')
      progress(
        `${answer.step}: ${answer.packs} packs, ${answer.bytes_sent} bytes sent, ${answer.bytes_there} there\n`,
      )
  }
  if (!last || last.kind === 'progress')
    throw new AppError('unavailable', 'the agent ended before the snapshot was made', { retryable: true })
  if (last.kind === 'failed') {
    if (json)
      print(`${JSON.stringify({ schema: 'understudy.snapshot-failed/v1', ...last, kind: undefined })}\n`)
    else print(`${last.message}\n${last.hint ? `Try: ${last.hint}\n` : ''}`)
    return 1
  }
  if (json) print(`${JSON.stringify({ schema: 'understudy.snapshot-taken/v1', ...last, kind: undefined })}\n`)
  else
    print(
      `${last.id}: ${last.state_bytes} bytes of state, ${last.bytes_sent} bytes sent, ${last.bytes_there} were there, ${formatMillis(last.took_ms)}\n`,
    )
  return 0
}

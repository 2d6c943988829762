import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isServing, untilAgent } from '../../coordinator/src/demo/rig.ts'
import { messageOf } from '../../shared/src/core/app-error.ts'
import type { IncidentView } from '../../shared/src/protocol/incidents.ts'
import type { Fault, Proof, Row } from './fault.ts'
import { FaultFailed } from './fault-failed.ts'
import type { Field } from './field.ts'
import { limits, within } from './limits.ts'
import { ms, openScene, type Scene, settle } from './scene.ts'

const ROOT = join(import.meta.dirname, '../..')
/** Enough for a few acknowledgements. */
const WARM_UP = 200
/** A workload leaves its mark this often; two that take turns are two overlaps each time. */
const STAMP_MILLIS = 25

const unplayed = ({ id, title, inject, expected }: Fault) =>
  ({ id, fault: title, inject, expected, time_ms: null, writes_acked: null, writes_lost: null }) as const

/** The row of a fault whose turn did not come. */
export const skippedRow = (fault: Fault, why: string): Row => ({
  ...unplayed(fault),
  seen: why,
  outcome: 'skipped',
})

/**
 * Plays one fault and judges it by the client, the witness and what the fault itself looks at. Never throws, and ends
 * whatever happens: what takes longer than its limit (limits.ts) is given up and fails.
 */
export async function playFault(field: Field, fault: Fault): Promise<Row> {
  const row = unplayed(fault)
  try {
    if (fault.proof) assertProven(fault.proof)
    if (!fault.run) return { ...row, seen: seenElsewhere(fault.proof), outcome: 'elsewhere' }
  } catch (error) {
    return { ...row, seen: messageOf(error), outcome: 'failed' }
  }
  let scene: Scene
  try {
    scene = await within(
      'an agent to play it on',
      limits.scene,
      field.take(fault.alone === true).then((id) => openScene(field, id)),
    )
  } catch (error) {
    return { ...row, seen: `no scene to play it on: ${messageOf(error)}`, outcome: 'failed' }
  }
  const judged = await judge(field, scene, fault)
  return { ...row, ...judged, outcome: outcomeOf(judged.ok, fault.pending) }
}

function outcomeOf(ok: boolean, pending: string | undefined): Row['outcome'] {
  if (ok) return 'ok'
  return pending === undefined ? 'failed' : 'pending'
}

async function judge(field: Field, scene: Scene, fault: Fault) {
  const { judge: client, operator, witnessFile } = field.fleet.rig
  const witness = () => within('the witness is read', limits.witness, client.overlaps(witnessFile))
  const problems: string[] = []
  const attempt = async <T>(what: () => Promise<T>): Promise<T | undefined> =>
    what().catch((error: unknown) => {
      problems.push(error instanceof FaultFailed ? error.message : messageOf(error))
      return undefined
    })
  const before = new Set(await attempt(witness))
  await settle(WARM_UP)
  scene.strike()
  const seen = await attempt(() => runFault(scene, fault))
  if (problems.length > 0) problems.push(await situation(scene))
  await attempt(() => within('everything is healed', limits.heal, field.heal(scene.id)))
  const serves = await attempt(() =>
    untilAgent(operator, scene.id, 'serving again', isServing, problems.length > 0 ? 5000 : 40_000),
  )
  const counted =
    serves &&
    (await attempt(() =>
      within('what was acknowledged is read back', limits.readBack, client.verify(scene.id)),
    ))
  const overlaps = (await attempt(witness)) ?? []
  const fresh = overlaps.filter((overlap) => !before.has(overlap))
  if ((fresh.length / 2) * STAMP_MILLIS > scene.forgiven)
    problems.push(`two workloads ran at once (${fresh.length} times, first: ${fresh[0]})`)
  const lost = counted ? counted.verdict.missing.length + counted.verdict.wrong : null
  if (counted && lost) {
    const incidents = (await attempt(() => scene.incidents())) ?? []
    const explained = fault.loss === 'reported' && isExplained(counted.verdict, incidents)
    if (!explained)
      problems.push(
        `${lost} acknowledged writes are missing${unexplained(fault, counted.verdict, incidents)}`,
      )
  }
  await attempt(() => scene.end())
  await attempt(() => tidy(scene))
  const ok = problems.length === 0
  field.giveBack(scene.id, !ok)
  return {
    ok,
    seen: ok ? (seen ?? '') : problems.join('; '),
    time_ms: counted ? counted.gapMillis : null,
    writes_acked: counted ? counted.verdict.acked : null,
    writes_lost: lost,
  }
}

/** One that is given up must not act on what is played next: it is waited for a little, and can do nothing any more. */
async function runFault(scene: Scene, fault: Fault): Promise<string | undefined> {
  const running = Promise.resolve(fault.run?.(scene))
  const limit = fault.slow ? limits.slowFault : limits.fault
  try {
    return await within('the fault', limit, running)
  } catch (error) {
    scene.abandon()
    const ended = running.then(
      () => undefined,
      () => undefined,
    )
    await Promise.race([ended, settle(limits.leftOver)])
    throw error
  }
}

/** What a fault has put beside the state of the key-value store is not copied for every fault after it. */
async function tidy(scene: Scene): Promise<void> {
  const { instance_id: primary } = await scene.fleet.rig.operator.agent(scene.id)
  const { state } = scene.member(primary ?? '')
  for (const name of readdirSync(state))
    if (name !== 'planted' && !/^\d{6}\.log$/.test(name))
      await rm(join(state, name), { recursive: true, force: true })
}

/** For whoever looks into a failure. */
async function situation(scene: Scene): Promise<string> {
  try {
    const {
      instance_id: primary,
      replicas,
      epoch,
      phase,
      reason,
    } = await scene.fleet.rig.operator.agent(scene.id)
    const standbys = replicas.map(
      ({ instance_id: instance, type, status }) => `${instance ?? 'not launched'} ${type} ${status}`,
    )
    const incidents = (await scene.incidents()).map(
      ({ trigger, outcome, outcome_reason: why }) => `${trigger} ${outcome} (${why})`,
    )
    return `then: primary ${primary}, epoch ${epoch}, ${phase}, ${reason}; incidents: ${incidents.join(', ') || 'none'}; standby at first ${scene.standby.instance}, now ${standbys.join(', ') || 'none'}`
  } catch {
    return 'then: the coordinator does not answer'
  }
}

/** Every write that is missing was acknowledged after the moment up to which the system says that it has everything. */
function isExplained(
  { missing, wrong }: { missing: readonly number[]; wrong: number },
  incidents: readonly IncidentView[],
): boolean {
  return (
    wrong === 0 &&
    incidents.some(({ loss }) => {
      if (loss?.kind === 'everything' || loss?.kind === 'unknown') return true
      const through = loss?.state_through ? Date.parse(loss.state_through) : undefined
      return loss?.kind === 'bounded' && through !== undefined && missing.every((at) => at >= through)
    })
  )
}

function unexplained(
  { loss }: Fault,
  { missing, wrong }: { missing: readonly number[]; wrong: number },
  incidents: readonly IncidentView[],
): string {
  if (loss !== 'reported') return ''
  const first = Math.min(...missing)
  const told = incidents.map(({ loss: said }) =>
    said?.state_through
      ? `${said.kind}, everything through ${ms(Date.parse(said.state_through) - first)} after the first of them`
      : `${said?.kind ?? 'not told'}`,
  )
  return `, ${wrong} wrong, and no incident says so (${told.join('; ') || 'there is none'})`
}

function assertProven({ tests }: Proof): void {
  for (const [file, name] of tests) {
    const path = join(ROOT, file)
    if (!existsSync(path)) throw new FaultFailed(`${file} is to prove it and is not there`)
    if (!readFileSync(path, 'utf8').includes(name))
      throw new FaultFailed(`${file} is to prove it and has no test "${name}"`)
  }
}

const seenElsewhere = (proof: Proof | undefined): string =>
  proof === undefined
    ? ''
    : `not with processes: ${proof.why}. Proven by ${proof.tests.map(([file, name]) => `${file} ("${name}")`).join(', ')}`

import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { type Clock, millis, plus, seconds, sleep } from '@understudy/shared/core/time'
import { type DrillView, drillViewSchema } from '@understudy/shared/protocol/drills'
import { enrolmentIn } from '../config/data-directory.ts'
import { readEnrolment } from '../link/enrolment.ts'
import { getJson, postJson } from '../link/http.ts'
import { printDrill, stepLine } from './print-drill.ts'

/** What the command is given. Facts go to standard output, progress to standard error. */
export interface DrillCommand {
  readonly coordinatorUrl: string
  readonly dataDirectory: string
  readonly json: boolean
  readonly switchBack: boolean
  /** Nobody is asked. */
  readonly yes: boolean
  readonly clock: Clock
  readonly print: (text: string) => unknown
  readonly progress: (text: string) => unknown
  /** Asks a person; undefined where none is there. */
  readonly ask: ((question: string) => Promise<boolean>) | undefined
}

const LOOK_EVERY = millis(200)
/** A coordinator that is restarted in the middle is back by then. */
const SILENT_FOR = seconds(60)

/**
 * `agent drill`: lets the coordinator move this agent to a ready replica, and shows what it is told of it.
 * @throws AppError of the coordinator: `not_ready`, `busy`; `outcome_unknown` when it does not answer any more
 */
export async function drillCommand(command: DrillCommand): Promise<number> {
  const { coordinatorUrl, dataDirectory, json, switchBack, print } = command
  const enrolment = readEnrolment(enrolmentIn(dataDirectory))
  if (!enrolment)
    throw new AppError('unauthenticated', 'this instance has not joined an agent yet', {
      hint: 'Run it where the agent runs, with its configuration file.',
    })
  const { agentId, credential } = enrolment
  if (!(await agrees(command, agentId))) return 0
  const url = `${coordinatorUrl.replace(/\/+$/, '')}/api/agents/${agentId}/drills`
  const begun = drillViewSchema.parse(
    await postJson(url, switchBack ? { switch_back: true } : {}, { credential }),
  )
  const drill = await watch(begun, () => getJson(`${url}/${begun.id}`, { credential }), command)
  print(json ? `${JSON.stringify({ schema: 'understudy.drill/v1', ...drill })}\n` : printDrill(drill))
  return drill.status === 'done' ? 0 : 1
}

async function agrees({ yes, ask, switchBack, progress }: DrillCommand, agentId: string): Promise<boolean> {
  if (yes) return true
  const what = `This moves ${agentId} to a replica now${switchBack ? ', and back' : ''}: nobody serves for a moment, as in a real failover.`
  if (!ask)
    throw new AppError('input_invalid', `${what} Nobody is here to be asked`, {
      hint: 'Say --yes if that is meant.',
    })
  if (await ask(`${what} Go on? [y/N] `)) return true
  progress('nothing was done\n')
  return false
}

/** Until it has ended; each step is said as it comes. */
async function watch(
  begun: DrillView,
  look: () => Promise<unknown>,
  { clock, progress }: DrillCommand,
): Promise<DrillView> {
  const tell = createTeller(progress)
  let drill = begun
  let heard = clock.mono()
  for (;;) {
    tell(drill)
    if (drill.ended_at !== null) return drill
    await sleep(clock, LOOK_EVERY)
    try {
      drill = drillViewSchema.parse(await look())
      heard = clock.mono()
    } catch (error) {
      if (!isAppError(error) || !error.retryable) throw error
      if (clock.mono() < plus(heard, SILENT_FOR)) continue
      throw new AppError('outcome_unknown', `the drill ${begun.id} has begun, and ${error.message}`, {
        hint: `It goes on without this command: GET /api/agents/${begun.agent_id}/drills/${begun.id} says how it ended.`,
        cause: error,
      })
    }
  }
}

function createTeller(progress: (text: string) => unknown): (drill: DrillView) => void {
  const told = new Set<string>()
  return ({ moves }) => {
    for (const move of moves)
      for (const step of move.steps) {
        const key = `${move.incident_id} ${step.seq}`
        if (!told.has(key)) progress(stepLine(move, step))
        told.add(key)
      }
  }
}

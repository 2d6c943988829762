import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, seconds } from '@understudy/shared/core/time'
import type { LabConfig, LabFrame, PipelineStatus } from '@understudy/shared/protocol/lab'
import type { Logger } from 'pino'
import { createStream, type Stream } from '../live/live.ts'
import type { ExperimentStore } from './experiment-store.ts'
import { experimentView } from './experiment-view.ts'

/** What is said of a target changes by many hands: calls, decisions, processes of models, another coordinator. */
const LOOK = seconds(1)
/** As many as the page shows. */
const EXPERIMENTS = 50

/** The part of the Lab that is looked at. */
interface LabReader {
  status(id: string): Promise<PipelineStatus>
  config(id: string): Promise<LabConfig>
  readonly experiments: { readonly store: Pick<ExperimentStore, 'list'> }
}

/** For pages that look at the Lab: one target each, and the experiments. To be run beside the rest. */
export interface LabLive extends Service {
  /** What a page joins that looks at this target. */
  streamOf(target: string): Pick<Stream<LabFrame>, 'join'>
  /** @throws what reading the store throws */
  first(target: string): Promise<LabFrame>
  /** One look at each target that somebody looks at: what has changed is sent. */
  look(): Promise<void>
}

type Picture = Required<Pick<LabFrame, 'status' | 'config' | 'experiments'>>

interface Watched {
  readonly stream: Stream<LabFrame>
  /** Each part as it was last sent, as text. */
  readonly sent: Map<string, string>
  /** It could not be read at the last look, and that was said. */
  failing: boolean
}

export function createLabLive(lab: LabReader, clock: Clock, log: Logger): LabLive {
  const watched = new Map<string, Watched>()
  const at = () => new Date(clock.now()).toISOString()

  async function pictureOf(target: string): Promise<Picture> {
    const [status, config, experiments] = await Promise.all([
      lab.status(target),
      lab.config(target),
      lab.experiments.store.list(undefined, EXPERIMENTS),
    ])
    return { status, config, experiments: experiments.map(experimentView) }
  }

  /** Undefined when all is as it was. */
  function changes(sent: Map<string, string>, picture: Picture): Partial<Picture> | undefined {
    const changed = Object.entries(picture).filter(([part, value]) => {
      const text = JSON.stringify(value)
      if (sent.get(part) === text) return false
      sent.set(part, text)
      return true
    })
    return changed.length === 0 ? undefined : Object.fromEntries(changed)
  }

  async function lookAt(target: string, { stream, sent }: Watched): Promise<void> {
    const changed = changes(sent, await pictureOf(target))
    if (changed) stream.publish({ type: 'patch', at: at(), ...changed })
  }

  async function look(): Promise<void> {
    for (const [target, one] of watched) {
      if (one.stream.listeners === 0) watched.delete(target)
      else
        try {
          await lookAt(target, one)
          one.failing = false
        } catch (error) {
          if (!one.failing) log.error({ event: 'lab.live_failed', target, err: error })
          one.failing = true
        }
    }
  }

  return {
    name: 'lab-live',
    streamOf: (target) => ({
      join(socket, first, shape) {
        const known = watched.get(target) ?? { stream: createStream(), sent: new Map(), failing: false }
        watched.set(target, known)
        return known.stream.join(socket, first, shape)
      },
    }),
    async first(target) {
      const picture = await pictureOf(target)
      const sent = watched.get(target)?.sent
      // Another page may be there already, to which what is new here has not been sent.
      if (sent?.size === 0) changes(sent, picture)
      return { type: 'snapshot', at: at(), ...picture }
    },
    look,
    run: (signal) => everyPeriod(clock, LOOK, signal, look),
  }
}

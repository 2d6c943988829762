import type { AgentView } from '@understudy/shared/protocol/agents'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { DemoView, LiveFrame } from '@understudy/shared/protocol/live'

/** Everything that the coordinator shows, as of one frame. */
export interface LivePicture {
  readonly seq: number
  /** The coordinator's wall clock at that frame. */
  readonly at: number
  readonly version: string
  readonly mode: 'demo' | 'serve'
  readonly agents: ReadonlyMap<string, AgentView>
  readonly incidents: ReadonlyMap<string, IncidentView>
  readonly demo: DemoView | undefined
}

/** `repeated`: known already. `gap`: a frame is missing, so that only a new snapshot helps. */
export type FrameOutcome = { readonly picture: LivePicture } | 'repeated' | 'gap'

/** One frame onto the picture so far. Pure; a map that nothing has changed in stays the same object. */
export function applyFrame(picture: LivePicture | undefined, frame: LiveFrame): FrameOutcome {
  if (frame.type === 'snapshot') {
    const { seq, at, version, mode, content } = frame
    return {
      picture: {
        seq,
        at,
        version,
        mode,
        agents: merge(new Map(), content.agents),
        incidents: merge(new Map(), content.incidents),
        demo: content.demo ?? undefined,
      },
    }
  }
  if (!picture) return 'gap'
  if (frame.seq <= picture.seq) return 'repeated'
  if (frame.seq > picture.seq + 1) return 'gap'
  const { seq, at } = frame
  if (frame.type === 'still') return { picture: { ...picture, seq, at } }
  return { picture: { ...picture, seq, at, ...changes(picture, frame.content) } }
}

type Patch = Extract<LiveFrame, { type: 'patch' }>['content']

function changes(picture: LivePicture, content: Patch): Partial<LivePicture> {
  return {
    ...(content.agents && { agents: merge(picture.agents, content.agents) }),
    ...(content.incidents && { incidents: merge(picture.incidents, content.incidents) }),
    ...('demo' in content && { demo: content.demo ?? undefined }),
  }
}

/** null takes a key away. */
function merge<T>(
  known: ReadonlyMap<string, T>,
  patch: Readonly<Record<string, T | null>>,
): ReadonlyMap<string, T> {
  const merged = new Map(known)
  for (const [id, value] of Object.entries(patch)) {
    if (value === null) merged.delete(id)
    else merged.set(id, value)
  }
  return merged
}

/**
 * Whether the change may not wait until numbers are shown again: something happened to an agent, rather than that one
 * of its figures moved.
 */
export function isEvent(before: LivePicture | undefined, after: LivePicture): boolean {
  if (!before || before.incidents !== after.incidents) return true
  if (before.agents === after.agents) return false
  if (before.agents.size !== after.agents.size) return true
  for (const [id, agent] of after.agents) {
    const known = before.agents.get(id)
    // What a frame has not touched is the same object.
    if (known !== agent && conditionOf(agent) !== conditionOf(known)) return true
  }
  return false
}

const conditionOf = (agent: AgentView | undefined): string =>
  agent === undefined
    ? ''
    : [
        agent.state,
        agent.phase,
        agent.epoch,
        agent.status,
        ...agent.replicas.map(({ id, status }) => id + status),
      ].join()

import type { NotificationKind, NotificationStage } from '@understudy/shared/protocol/notifications'
import type { Template } from './template.ts'

/** Somebody who is told of incidents, as the operator has set it up. */
export interface Receiver {
  readonly name: string
  /** Where messages are posted. It may be a secret itself, as Slack's incoming webhooks are. */
  readonly url: string
  readonly target: Target
  /** Loopback and link-local addresses are refused otherwise. */
  readonly allowLocal: boolean
  readonly stages: readonly NotificationStage[]
  readonly kinds: readonly NotificationKind[]
  /** Patterns of agent ids; empty means all. */
  readonly agents: readonly string[]
  readonly templates: Readonly<Record<NotificationStage, Template>>
}

export type Target =
  | {
      readonly kind: 'webhook'
      readonly format: 'standard' | 'slack'
      /** The first is the new one while they are being changed. */
      readonly secrets: readonly Uint8Array[]
    }
  | { readonly kind: 'slack'; readonly token: string; readonly channel: string }

/** What a receiver is asked about. */
export interface Subject {
  readonly stage: NotificationStage
  readonly kind: NotificationKind
  /** Null for what concerns no agent: patterns of agents keep it from nobody. */
  readonly agentId: string | null
}

export const wants = (receiver: Receiver, { stage, kind, agentId }: Subject): boolean =>
  receiver.stages.includes(stage) &&
  receiver.kinds.includes(kind) &&
  (agentId === null || receiver.agents.length === 0 || isMatch(agentId, receiver.agents))

/** `*` stands for any characters, none too. */
const isMatch = (agentId: string, patterns: readonly string[]): boolean =>
  patterns.some((pattern) =>
    new RegExp(`^${pattern.replace(/[.-]/g, '\\$&').replace(/\*+/g, '.*')}$`).test(agentId),
  )

/** Messages of one incident are one thread only where a bot writes them: an incoming webhook does not say what it wrote. */
export const threads = ({ target }: Receiver): boolean => target.kind === 'slack'

import { type Certificate, COORDINATOR } from '@understudy/shared/failover/certificate'
import type { GroupEffect, OpenIncident } from '@understudy/shared/failover/group'

/** The certificate of a move that others have decided and done without us, and that is heard of only now. */
export const madeElsewhere = (
  { id }: OpenIncident,
  effects: readonly GroupEffect[],
): Certificate | undefined =>
  effects.find(
    (effect): effect is GroupEffect & { kind: 'record' } =>
      effect.kind === 'record' &&
      effect.facts.incident?.id === id &&
      !effect.certificate.votes.some(({ voter }) => voter === COORDINATOR),
  )?.certificate

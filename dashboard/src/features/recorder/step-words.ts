import type { Tone } from '../../ui/tone.ts'

export interface StepWords {
  readonly name: string
  /** Which part of the move it belongs to, as a colour of its bar. */
  readonly tone: Tone
  /** What comes after it, while it has not. */
  readonly waitingFor: string
  /** After it, time passes in which nothing but waiting is done. */
  readonly waits?: true
}

const known: Readonly<Record<string, StepWords>> = {
  'notice-received': { name: 'Notice received', tone: 'at-risk', waitingFor: 'the hand-over' },
  'primary-lost': { name: 'Primary lost', tone: 'at-risk', waitingFor: 'the epoch to move' },
  'move-requested': { name: 'Move requested', tone: 'at-risk', waitingFor: 'the hand-over' },
  'no-replica-ready': { name: 'No replica ready', tone: 'at-risk', waitingFor: 'a replica', waits: true },
  'waits-for-replica': { name: 'Waits for a replica', tone: 'at-risk', waitingFor: 'a replica', waits: true },
  'counts-on-snapshot': {
    name: 'Counts on a snapshot',
    tone: 'at-risk',
    waitingFor: 'a replica, or the end of the instance',
    waits: true,
  },
  'replica-needed': { name: 'Replica needed', tone: 'at-risk', waitingFor: 'a replica', waits: true },
  'replica-launched': { name: 'Replica launched', tone: 'at-risk', waitingFor: 'a replica', waits: true },
  'no-spot-capacity': { name: 'No spot capacity', tone: 'failed', waitingFor: 'a replica', waits: true },
  'emergency-snapshot': {
    name: 'Emergency snapshot',
    tone: 'at-risk',
    waitingFor: 'a replica, or the end of the instance',
    waits: true,
  },
  'probability-estimated': { name: 'Probability estimated', tone: 'at-risk', waitingFor: 'the answer' },
  'replica-created': { name: 'Replica created', tone: 'at-risk', waitingFor: 'the answer' },
  'no-copy-at-hand': {
    name: 'No copy of the state at hand',
    tone: 'failed',
    waitingFor: 'a copy of the state or a new instance',
    waits: true,
  },
  'copy-of-unknown-age': { name: 'Copy of unknown age', tone: 'at-risk', waitingFor: 'the epoch to move' },
  'state-lost': { name: 'State lost', tone: 'failed', waitingFor: 'the epoch to move' },
  'successor-changed': { name: 'Successor changed', tone: 'draining', waitingFor: 'the hand-over' },
  'hand-over-ordered': {
    name: 'Hand-over ordered',
    tone: 'draining',
    waitingFor: 'the old primary to freeze',
  },
  'turn-awaited': { name: 'Turn awaited', tone: 'healthy', waitingFor: 'the old primary to freeze' },
  'hand-over-failed': { name: 'Hand-over failed', tone: 'failed', waitingFor: 'another way to move' },
  'state-drained': { name: 'State drained', tone: 'draining', waitingFor: 'the final sync' },
  'workload-frozen': { name: 'Workload frozen', tone: 'draining', waitingFor: 'the final sync' },
  'workload-thawed': { name: 'Workload runs on', tone: 'healthy', waitingFor: 'another way to move' },
  'final-sync': { name: 'Final state sync', tone: 'draining', waitingFor: 'the epoch to move' },
  'traffic-cut': { name: 'Traffic cut', tone: 'draining', waitingFor: 'the epoch to move' },
  'epoch-moved': { name: 'Epoch moved', tone: 'standby', waitingFor: 'the state to be in place' },
  'state-in-place': { name: 'State in place', tone: 'standby', waitingFor: 'the workload to start' },
  'workload-started': { name: 'Workload started', tone: 'standby', waitingFor: 'the health check' },
  'promotion-failed': { name: 'Promotion failed', tone: 'failed', waitingFor: 'another replica' },
  'health-check': { name: 'Health check', tone: 'healthy', waitingFor: 'the traffic to move' },
  'address-moved': { name: 'Traffic moved', tone: 'healthy', waitingFor: 'the end' },
  'workload-stopped': { name: 'Old workload stopped', tone: 'unknown', waitingFor: 'the next step' },
  'workload-killed': { name: 'Old workload killed', tone: 'unknown', waitingFor: 'the next step' },
}

/** A step in words. One that a newer coordinator has is shown by its own name. */
export const wordsOf = (step: string): StepWords =>
  (Object.hasOwn(known, step) ? known[step] : undefined) ?? {
    name: inWords(step),
    tone: 'unknown',
    waitingFor: 'the next step',
  }

const inWords = (id: string): string => {
  const text = id.replaceAll('-', ' ')
  return text.charAt(0).toUpperCase() + text.slice(1)
}

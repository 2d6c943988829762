/** What the coordinator is doing about an agent, in plain words; a phase that a newer one has is shown by its name. */
const known: Record<string, string> = {
  vacant: 'no primary yet',
  steady: 'nothing under way',
  asking: 'waiting for the vote of another instance',
  voting: 'waiting until the coordinator may vote',
  electing: 'voted; waiting for the one that is to be primary',
  'handing-over': 'the primary hands over',
  promoting: 'the new primary starts',
  routing: 'traffic is led to the new primary',
  relaunching: 'waiting for a copy of the state or an instance',
  failed: 'the only copy of the state does not start',
}

export const phaseInWords = (phase: string): string =>
  (Object.hasOwn(known, phase) ? known[phase] : undefined) ?? phase

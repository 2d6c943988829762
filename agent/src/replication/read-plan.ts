import type { Stat } from './state-files.ts'
import type { FileEntry } from './state-tree.ts'

/** Reading a file again in full may take one part in this many of the time. */
const HASH_SHARE = 20

/** What is known of the last time that a name was read. Times are milliseconds of the monotonic clock. */
export interface ReadFacts {
  readonly stat: Stat
  /** There may have been a change since the reading began that the stat does not show. */
  readonly racy: boolean
  /** Every page was read since the last change; false after only the tail was. */
  readonly complete: boolean
  /** Its pages of zeros were its holes (holes.ts): when nothing shows, the others are all that has to be read again. */
  readonly holes?: true
  /** It was only seen. Whoever sends it first reads it. */
  readonly unread?: true
  readonly hashedAt: number
  readonly hashTook: number
}

/** What reading may cost. */
interface ReadBudget {
  /** Nothing is trusted that may have changed unseen. */
  readonly exact: boolean
  /** What may have changed is read, whatever it costs. */
  readonly patient: boolean
  /** What it took to read all files again that show no change, the last time, in milliseconds. */
  readonly againTook: number
}

/**
 * How much of a file has to be read again. Pure.
 * - `nothing`: no change can have happened.
 * - `later`: something may have, and reading it again now would cost more than its share.
 * - `again`: something may have that does not show.
 * - `tail`: it has grown; its old pages are taken on trust for now.
 * - `whole`: anything else.
 */
export function planRead(
  stat: Stat,
  known: FileEntry | undefined,
  facts: ReadFacts | undefined,
  { exact, patient, againTook }: ReadBudget,
  now: number,
): 'nothing' | 'later' | 'again' | 'tail' | 'whole' {
  if (!known || !facts || facts.stat.inode !== stat.inode || facts.stat.device !== stat.device) return 'whole'
  const same =
    facts.stat.changedNs === stat.changedNs &&
    facts.stat.modifiedNs === stat.modifiedNs &&
    facts.stat.size === stat.size &&
    known.size === stat.size
  const certain = same && !facts.racy && facts.complete
  if (certain) return 'nothing'
  const whole = same ? 'again' : 'whole'
  if (exact) return whole
  if (facts.unread) return same ? 'nothing' : 'whole'
  // Files that show no change, such as thousands that are mapped, are one burden together.
  const cost = same ? Math.max(facts.hashTook, againTook) : facts.hashTook
  const affordable = patient || now - facts.hashedAt >= cost * HASH_SHARE
  if (!same && stat.size > known.size && known.size > 0 && !(affordable && !facts.complete)) return 'tail'
  return affordable ? whole : 'later'
}

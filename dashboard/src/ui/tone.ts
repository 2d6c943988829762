/** The colour pairs of tokens.css. */
export type Tone = 'healthy' | 'standby' | 'at-risk' | 'draining' | 'failed' | 'unknown'

export type Shape = 'circle' | 'diamond' | 'half' | 'ring' | 'triangle' | 'hourglass' | 'cross' | 'dash'

/** A state as it is shown: never by colour alone. */
export interface Mark {
  readonly tone: Tone
  readonly shape: Shape
  readonly word: string
}

/** What was seen is not what was expected. */
export class FaultFailed extends Error {
  override readonly name = 'FaultFailed'
}

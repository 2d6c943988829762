import type { Failure } from '../api/http.ts'

/** The coordinator says no. */
export const refused = (
  detail: string,
  changes: Partial<Failure> = {},
): Failure & { readonly ok: false } => ({
  ok: false,
  kind: 'refused',
  status: 409,
  title: 'Not possible now',
  detail,
  hint: undefined,
  code: 'conflict',
  facts: {},
  ...changes,
})

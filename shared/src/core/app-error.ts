/**
 * Every failure that this system expects, by what went wrong and never by where. The HTTP status and the exit code
 * follow from the code.
 */
export const errorCodes = {
  input_invalid: { status: 400, exit: 2 },
  unauthenticated: { status: 401, exit: 5 },
  forbidden: { status: 403, exit: 5 },
  not_found: { status: 404, exit: 3 },
  conflict: { status: 409, exit: 4 },
  stale_epoch: { status: 409, exit: 4 },
  not_ready: { status: 409, exit: 4 },
  busy: { status: 409, exit: 4 },
  payload_too_large: { status: 413, exit: 2 },
  model_refused: { status: 422, exit: 2 },
  outcome_unknown: { status: 504, exit: 7 },
  unavailable: { status: 503, exit: 6 },
  no_capacity: { status: 503, exit: 1 },
  not_supported: { status: 501, exit: 1 },
  config_invalid: { status: 500, exit: 78 },
  port_in_use: { status: 500, exit: 78 },
  database_newer: { status: 500, exit: 78 },
  hook_failed: { status: 500, exit: 1 },
  disk_full: { status: 507, exit: 1 },
  state_unreadable: { status: 500, exit: 1 },
  imds_unreachable: { status: 503, exit: 1 },
  imds_hop_limit: { status: 503, exit: 1 },
  imds_forbidden: { status: 503, exit: 1 },
  imds_unusable: { status: 503, exit: 1 },
  protocol: { status: 400, exit: 1 },
  internal: { status: 500, exit: 1 },
} as const

export type ErrorCode = keyof typeof errorCodes

export interface AppErrorOptions {
  /** What the operator should do next, as one sentence or a command. */
  hint?: string | undefined
  /** True when the same call may succeed later without anybody changing anything. */
  retryable?: boolean
  cause?: unknown
  /** Problems by place, for input that is wrong in several places at once. `pointer` is a JSON pointer. */
  errors?: readonly { pointer: string; message: string }[]
  /** Facts that go into the answer, such as the current epoch after a refused promotion. Never a secret. */
  facts?: Readonly<Record<string, unknown>>
}

/** An expected failure. Anything else that is thrown is a bug. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly retryable: boolean
  readonly errors: readonly { pointer: string; message: string }[]
  readonly facts: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint
    this.retryable = options.retryable ?? false
    this.errors = options.errors ?? []
    this.facts = options.facts ?? {}
  }
}

export const isAppError = (error: unknown, code?: ErrorCode): error is AppError =>
  error instanceof AppError && (code === undefined || error.code === code)

/** The message of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** The system's own error code (`ENOENT`, `ENOSPC`, …) of anything that was thrown. */
export const systemCodeOf = (error: unknown): string | undefined =>
  typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined

/** What a command prints when it fails, and the exit code that it ends with. */
export function toFailure(error: unknown): { text: string; exit: number } {
  if (!isAppError(error))
    return { text: `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`, exit: 1 }
  return {
    text: `${error.message}\n${error.hint ? `Try: ${error.hint}\n` : ''}`,
    exit: errorCodes[error.code].exit,
  }
}

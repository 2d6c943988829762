import { spawn } from 'node:child_process'
import { AppError, systemCodeOf } from '@understudy/shared/core/app-error'
import type { Millis } from '@understudy/shared/core/time'

const MAX_STDERR = 1024 * 1024

export interface ToolRun {
  readonly command: readonly [string, ...string[]]
  /** Latin1 for bytes. */
  readonly input: string
  readonly budget: Millis
  readonly onOutput: (text: string) => void
}

/**
 * Runs a program of the system with bytes on its standard input. Arguments of a process are UTF-8 in Node, so names
 * that are bytes go through `xargs -0`.
 * @throws AppError `not_supported` when it is not installed, `internal` when it does not end in time
 */
export function runTool({
  command,
  input,
  budget,
  onOutput,
}: ToolRun): Promise<{ code: number; stderr: string }> {
  const [program, ...args] = command
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      // A group of its own, so that what xargs has started ends with it.
      detached: true,
      env: { PATH: process.env.PATH, LC_ALL: 'C' },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const late = AbortSignal.timeout(Math.ceil(budget))
    const onLate = () => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
      reject(new AppError('internal', `${program} did not end within ${Math.round(budget)} ms`))
    }
    late.addEventListener('abort', onLate)
    let stderr = ''
    child.stdout.setEncoding('latin1').on('data', onOutput)
    child.stderr.setEncoding('latin1').on('data', (text: string) => {
      if (stderr.length < MAX_STDERR) stderr += text
    })
    // It may end before it has read everything; its exit code says why.
    child.stdin.on('error', () => undefined)
    child.stdin.end(input, 'latin1')
    child.on('error', (cause) => {
      late.removeEventListener('abort', onLate)
      reject(
        new AppError('not_supported', `${program} cannot be run (${systemCodeOf(cause) ?? cause.message})`, {
          cause,
        }),
      )
    })
    child.on('close', (code) => {
      late.removeEventListener('abort', onLate)
      resolve({ code: code ?? -1, stderr })
    })
  })
}

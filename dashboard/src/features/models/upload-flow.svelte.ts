import type { Clock, Mono } from '@understudy/shared/core/time'
import type { UploadResult } from '@understudy/shared/protocol/models'
import type { Answer, Failure } from '../../api/http.ts'
import type { Upload, UploadPorts } from '../../api/upload.ts'
import { formatAge, formatBytes } from '../../ui/format.ts'

export type UploadState =
  | { readonly kind: 'idle' }
  | { readonly kind: 'sending'; readonly sent: number; readonly total: number }
  /** All is there: it is read, and tried in a process of its own. */
  | { readonly kind: 'checking' }
  | { readonly kind: 'done'; readonly result: UploadResult }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'failed'; readonly failure: Failure }

export interface UploadFlowPorts {
  readonly send: (ports: Pick<UploadPorts, 'form' | 'key' | 'onprogress' | 'onsent'>) => Upload<UploadResult>
  readonly clock: Clock
  readonly newKey: () => string
  readonly ondone: () => void
}

export interface ModelFiles {
  readonly model: File
  readonly manifest: File
  readonly scaler: File | undefined
}

/** One upload of a model: how far it is, and what came of it. */
export class UploadFlow {
  readonly #ports: UploadFlowPorts
  #state = $state.raw<UploadState>({ kind: 'idle' })
  #startedAt: Mono | undefined
  #upload: Upload<UploadResult> | undefined

  constructor(ports: UploadFlowPorts) {
    this.#ports = ports
  }

  get state(): UploadState {
    return this.#state
  }

  get busy(): boolean {
    return this.#state.kind === 'sending' || this.#state.kind === 'checking'
  }

  async start({ model, manifest, scaler }: ModelFiles): Promise<void> {
    if (this.busy) return
    const form = new FormData()
    form.append('file', model)
    form.append('manifest', manifest)
    if (scaler) form.append('scaler', scaler)
    this.#startedAt = this.#ports.clock.mono()
    this.#state = { kind: 'sending', sent: 0, total: model.size + manifest.size + (scaler?.size ?? 0) }
    this.#upload = this.#ports.send({
      form,
      key: this.#ports.newKey(),
      onprogress: (sent, total) => {
        if (this.busy) this.#state = { kind: 'sending', sent, total }
      },
      onsent: () => {
        if (this.busy) this.#state = { kind: 'checking' }
      },
    })
    this.#state = endOf(await this.#upload.ended)
    this.#ports.ondone()
  }

  cancel(): void {
    this.#upload?.cancel()
  }

  /** `12.3 MB of 64.0 MB · 4.1 MB/s · about 13 s left`: the rate after one second, the rest after five. */
  get progress(): string {
    const state = this.#state
    if (state.kind !== 'sending') return ''
    const parts = [`${formatBytes(state.sent)} of ${formatBytes(state.total)}`]
    const millis = this.#ports.clock.mono() - (this.#startedAt ?? 0)
    const rate = (state.sent / millis) * 1000
    if (millis >= 1000 && rate > 0) parts.push(`${formatBytes(rate)}/s`)
    if (millis >= 5000 && rate > 0)
      parts.push(`about ${formatAge(((state.total - state.sent) / rate) * 1000)} left`)
    return parts.join(' · ')
  }
}

function endOf(answer: Answer<UploadResult> | undefined): UploadState {
  if (answer === undefined) return { kind: 'cancelled' }
  return answer.ok ? { kind: 'done', result: answer.body } : { kind: 'failed', failure: answer }
}

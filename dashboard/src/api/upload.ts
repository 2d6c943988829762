import { type Answer, failureOf, parseJson } from './http.ts'

export interface Upload<T> {
  /** Never rejects; undefined when it was cancelled. */
  readonly ended: Promise<Answer<T> | undefined>
  cancel(): void
}

/** The part of an XMLHttpRequest that is used: fetch does not say how much has been sent. */
export type UploadRequest = Pick<
  XMLHttpRequest,
  | 'open'
  | 'send'
  | 'abort'
  | 'setRequestHeader'
  | 'status'
  | 'responseText'
  | 'onload'
  | 'onerror'
  | 'onabort'
> & { readonly upload: Pick<XMLHttpRequestUpload, 'onprogress' | 'onload'> }

export interface UploadPorts {
  readonly path: string
  readonly form: FormData
  readonly key: string
  readonly onprogress: (sent: number, total: number) => void
  /** Everything is sent; the coordinator looks at it. */
  readonly onsent: () => void
  readonly open?: () => UploadRequest
}

export function sendForm<T>(ports: UploadPorts): Upload<T> {
  const request = (ports.open ?? (() => new XMLHttpRequest()))()
  const ended = new Promise<Answer<T> | undefined>((resolve) => {
    request.onload = () => {
      const { status } = request
      const body = parseJson(request.responseText)
      resolve(
        status >= 200 && status < 300
          ? { ok: true, status, body: body as T }
          : { ok: false, ...failureOf(status, body) },
      )
    }
    request.onerror = () =>
      resolve({
        ok: false,
        kind: 'unknown',
        status: undefined,
        title: 'No answer',
        detail: 'the connection was lost during the upload',
        hint: 'The list of uploads says what came of it. The same files again become the same version.',
        code: undefined,
        facts: {},
      })
    request.onabort = () => resolve(undefined)
  })
  request.upload.onprogress = (event) => ports.onprogress(event.loaded, event.total)
  request.upload.onload = () => ports.onsent()
  request.open('POST', ports.path)
  request.setRequestHeader('accept', 'application/json')
  request.setRequestHeader('idempotency-key', ports.key)
  request.send(ports.form)
  return { ended, cancel: () => request.abort() }
}

/** A version 4 UUID; `crypto.randomUUID` is not there on a page without TLS. */
export function newUuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

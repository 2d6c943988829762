import type {
  NotificationDelivery,
  NotificationReceiver,
  NotificationTest,
} from '@understudy/shared/protocol/notifications'
import type { AuditEntry, SettingView } from '@understudy/shared/protocol/settings'
import { type Answer, type Http, newKey } from './http.ts'

interface Page<T> {
  readonly items: readonly T[]
  readonly next: string | null
}

export interface AuditFilter {
  readonly actor?: string | undefined
  readonly action?: string | undefined
  readonly object?: string | undefined
}

/** What the page of settings asks. */
export interface SettingsCalls {
  settings(): Promise<Answer<{ readonly items: readonly SettingView[] }>>
  /** The latest first. */
  audit(filter: AuditFilter, cursor: string | undefined): Promise<Answer<Page<AuditEntry>>>
  /** `problem`: why their file as it is now is not in force. */
  receivers(): Promise<
    Answer<{ readonly items: readonly NotificationReceiver[]; readonly problem?: string | null }>
  >
  /** The latest first. */
  deliveries(): Promise<Answer<Page<NotificationDelivery>>>
  testReceiver(name: string): Promise<Answer<NotificationTest>>
}

export function createSettingsCalls(http: Http): SettingsCalls {
  const get = <T>(path: string): Promise<Answer<T>> => http<T>({ method: 'GET', path })
  return {
    settings: () => get('/api/settings'),
    audit: (filter, cursor) => {
      const query = new URLSearchParams({ limit: '50' })
      for (const [name, value] of Object.entries({ ...filter, cursor })) if (value) query.set(name, value)
      return get(`/api/audit?${query}`)
    },
    receivers: () => get('/api/notifications/receivers'),
    deliveries: () => get('/api/notifications/deliveries?limit=25'),
    testReceiver: (name) =>
      http({
        method: 'POST',
        path: `/api/notifications/receivers/${encodeURIComponent(name)}/test`,
        body: {},
        key: newKey(),
      }),
  }
}

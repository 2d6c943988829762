import type {
  NotificationDelivery,
  NotificationReceiver,
  NotificationTest,
} from '@understudy/shared/protocol/notifications'
import type { AuditEntry, SettingView } from '@understudy/shared/protocol/settings'
import { type Answer, type Http, newKey } from './http.ts'
import type { Question } from './readings.svelte.ts'

interface Page<T> {
  readonly items: readonly T[]
  readonly next: string | null
}

export interface AuditFilter {
  readonly actor?: string | undefined
  readonly action?: string | undefined
  readonly object?: string | undefined
}

export const configuration: Question<{ readonly items: readonly SettingView[] }> = { name: 'settings' }
/** `problem`: why their file as it is now is not in force. */
export const allReceivers: Question<{
  readonly items: readonly NotificationReceiver[]
  readonly problem?: string | null
}> = { name: 'receivers' }
/** The latest first. */
export const latestDeliveries: Question<Page<NotificationDelivery>> = {
  name: 'deliveries',
  query: { limit: '25' },
}
/** The latest first. */
export const latestChanges = (filter: AuditFilter): Question<Page<AuditEntry>> => ({
  name: 'audit',
  query: changesQuery(filter),
})

/** What the page of settings asks and does. */
export interface SettingsCalls {
  /** Those before a cursor. */
  earlierChanges(filter: AuditFilter, cursor: string): Promise<Answer<Page<AuditEntry>>>
  testReceiver(name: string): Promise<Answer<NotificationTest>>
}

const changesQuery = (filter: AuditFilter): Record<string, string> => ({
  limit: '50',
  ...Object.fromEntries(Object.entries(filter).filter(([, value]) => value)),
})

export function createSettingsCalls(http: Http): SettingsCalls {
  return {
    earlierChanges: (filter, cursor) =>
      http({
        method: 'GET',
        path: `/api/audit?${new URLSearchParams({ ...changesQuery(filter), cursor })}`,
      }),
    testReceiver: (name) =>
      http({
        method: 'POST',
        path: `/api/notifications/receivers/${encodeURIComponent(name)}/test`,
        body: {},
        key: newKey(),
      }),
  }
}

import type { Option, OptionTable, Origin } from '@understudy/shared/core/options'
import type { SettingView } from '@understudy/shared/protocol/settings'

/** The settings in force, in the order of their table. Secrets are not in it, nor passwords in addresses. */
export const settingsView = (
  table: OptionTable,
  values: Readonly<Record<string, unknown>>,
  origins: Readonly<Record<string, Origin>>,
): readonly SettingView[] =>
  Object.entries(table).map(([name, option]: [string, Option]) => ({
    name,
    value: option.secret || isMissing(values[name]) ? null : withoutPassword(textOf(values[name])),
    origin: origins[name] ?? 'default',
    secret: option.secret ?? false,
    is_set: !isMissing(values[name]),
    doc: option.doc,
    env: option.env ?? null,
  }))

const isMissing = (value: unknown): boolean => value === undefined || value === null

function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.map(textOf).join(', ')
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

/** An address may hold a name and a password before its host. */
const withoutPassword = (text: string): string => text.replaceAll(/(\w+:\/\/)[^\s/?#]*@/g, '$1…@')

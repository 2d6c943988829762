/** What `JSON.parse` gives. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** A part of a list: items of before as they were, one of before that has changed, or a new one. */
type ListPart =
  | { readonly from: number; readonly count: number }
  | { readonly from: number; readonly change: JsonChange }
  | { readonly set: Json }

/** How one value becomes another: it is set, some of its keys change, or its list is put together anew. */
export type JsonChange =
  | { readonly set: Json }
  | { readonly keys: Readonly<Record<string, JsonChange>>; readonly without?: readonly string[] }
  | { readonly list: readonly ListPart[] }

type Fields = Readonly<Record<string, Json>>

/**
 * What makes `after` of `before`; undefined when they are the same. `applyJsonChange` of it to `before` gives what equals
 * `after`, whatever they are. It is never much longer than `after` itself.
 */
export function jsonChange(before: Json, after: Json): JsonChange | undefined {
  const whole = textOf(after)
  if (textOf(before) === whole) return undefined
  const change = partial(before, after)
  if (!change) return { set: after }
  return textOf(change).length < whole.length ? change : { set: after }
}

/** What has not changed is the same object as before. */
export function applyJsonChange(before: Json, change: JsonChange): Json {
  if ('set' in change) return change.set
  if ('list' in change) {
    const items = isList(before) ? before : []
    return change.list.flatMap((part) => {
      if ('set' in part) return [part.set]
      if ('change' in part) return [applyJsonChange(items[part.from] ?? null, part.change)]
      return items.slice(part.from, part.from + part.count)
    })
  }
  const fields = isFields(before) ? before : {}
  const gone = new Set(change.without)
  return Object.fromEntries([
    ...Object.entries(fields).filter(([key]) => !gone.has(key) && !Object.hasOwn(change.keys, key)),
    ...Object.entries(change.keys).map(
      ([key, one]) => [key, applyJsonChange(own(fields, key), one)] as const,
    ),
  ])
}

function partial(before: Json, after: Json): JsonChange | undefined {
  if (isList(before) && isList(after)) return { list: listParts(before, after) }
  if (isFields(before) && isFields(after)) return keyChanges(before, after)
  return undefined
}

function keyChanges(before: Fields, after: Fields): JsonChange {
  const without = Object.keys(before).filter((key) => !Object.hasOwn(after, key))
  const changed = Object.entries(after).flatMap(([key, value]) => {
    const change = Object.hasOwn(before, key) ? jsonChange(own(before, key), value) : { set: value }
    return change ? [[key, change] as const] : []
  })
  const keys = Object.fromEntries(changed)
  return without.length === 0 ? { keys } : { keys, without }
}

/**
 * Items that are the same are found wherever they are now. One that is not is taken for a change of the item that followed
 * the last one found, as when a line of a table changes in its place, unless that one is found elsewhere.
 */
function listParts(before: readonly Json[], after: readonly Json[]): readonly ListPart[] {
  const places = new Map<string, number[]>()
  for (const [index, item] of before.entries()) {
    const text = textOf(item)
    const known = places.get(text)
    if (known) known.push(index)
    else places.set(text, [index])
  }
  for (const indices of places.values()) indices.reverse()
  const found = after.map((item) => places.get(textOf(item))?.pop())
  const taken = new Set(found)
  const parts: ListPart[] = []
  let expected = 0
  for (const [index, item] of after.entries()) {
    const at = found[index]
    if (at !== undefined) addCopy(parts, at)
    else parts.push(taken.has(expected) ? { set: item } : changedPart(before, expected, item))
    expected = at === undefined && taken.has(expected) ? expected : (at ?? expected) + 1
  }
  return parts
}

function addCopy(parts: ListPart[], from: number): void {
  const last = parts.at(-1)
  if (last && 'count' in last && last.from + last.count === from)
    parts[parts.length - 1] = { from: last.from, count: last.count + 1 }
  else parts.push({ from, count: 1 })
}

function changedPart(before: readonly Json[], from: number, item: Json): ListPart {
  const old = before[from]
  const change = old === undefined ? undefined : jsonChange(old, item)
  return !change || 'set' in change ? { set: item } : { from, change }
}

const textOf = (value: unknown): string => JSON.stringify(value)
const isList = (value: Json): value is readonly Json[] => Array.isArray(value)
const isFields = (value: Json): value is Fields =>
  typeof value === 'object' && value !== null && !isList(value)
/** Not what an object has from its prototype. */
const own = (fields: Fields, key: string): Json => (Object.hasOwn(fields, key) ? (fields[key] ?? null) : null)

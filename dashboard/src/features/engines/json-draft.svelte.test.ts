import { describe, expect, it } from 'vitest'
import { JsonDraft } from './json-draft.svelte.ts'

describe('a draft', () => {
  it('shows what is there until something is written, and again after', () => {
    let given = $state<Record<string, unknown>>({ a: 1 })
    const draft = new JsonDraft(() => given)
    expect([draft.text, draft.changed]).toEqual(['{\n  "a": 1\n}', false])
    given = { a: 2 }
    expect(draft.object).toEqual({ a: 2 })
    draft.text = '{"a":3}'
    given = { a: 4 }
    expect([draft.object, draft.changed]).toEqual([{ a: 3 }, true])
    draft.text = ' { "a" : 4 } '
    expect(draft.changed).toBe(false)
    draft.reset()
    expect([draft.value, draft.changed]).toEqual([{ a: 4 }, false])
  })

  it('that is no JSON says why, and has no value', () => {
    const draft = new JsonDraft(() => ({}))
    draft.text = '{"a": }'
    expect([draft.value, draft.object, draft.changed]).toEqual([undefined, undefined, true])
    expect(draft.problem).toMatch(/JSON/)
    draft.text = '[1]'
    expect([draft.problem, draft.value, draft.object]).toEqual([undefined, [1], undefined])
    draft.text = 'null'
    expect([draft.problem, draft.object]).toEqual([undefined, undefined])
  })
})

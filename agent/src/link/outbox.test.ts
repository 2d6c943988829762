import type { Report } from '@understudy/shared/protocol/link'
import { expect, test } from 'vitest'
import { createOutbox } from './outbox.ts'

const fact = (epoch: number): Report => ({ kind: 'fenced', epoch })
const step = (name: string) => ({ kind: 'step', step: name }) as Report

test('what is not acknowledged is kept in order', () => {
  const outbox = createOutbox()
  const ids = [1, 2, 3].map((epoch) => outbox.add(fact(epoch)).id)
  outbox.acknowledge(ids[1] ?? 0)
  expect(outbox.pending().map(({ body }) => body)).toEqual([fact(1), fact(3)])
})

test('a full outbox gives up explanations before facts, and counts them', () => {
  const outbox = createOutbox(3)
  outbox.add(fact(1))
  outbox.add(step('a'))
  outbox.add(fact(2))
  outbox.add(fact(3))
  expect(outbox.pending().map(({ body }) => body)).toEqual([fact(1), fact(2), fact(3)])
  outbox.add(fact(4))
  expect(outbox.pending().map(({ body }) => body)).toEqual([fact(2), fact(3), fact(4)])
  expect(outbox.dropped).toBe(2)
  expect(outbox.size).toBe(3)
})

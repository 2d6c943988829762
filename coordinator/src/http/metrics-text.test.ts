import { pino } from 'pino'
import { Counter, Gauge, Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createMetricsText } from './metrics-text.ts'

test('a metric whose collector throws is left out of the scrape, counted and logged once; all others are there', async () => {
  const registry = new Registry()
  const registers = [registry]
  const lines: { metric: string; why: string }[] = []
  const log = pino({ level: 'warn' }, { write: (line) => void lines.push(JSON.parse(line)) })
  let broken = true
  new Counter({ name: 'first_total', help: 'a', registers }).inc(3)
  new Gauge({
    ...{ name: 'busy', help: 'b', registers },
    async collect() {
      await Promise.resolve()
      if (broken) throw new Error('the database is busy')
      this.set(7)
    },
  })
  new Gauge({ ...{ name: 'last', help: 'c', registers, collect: () => undefined } }).set(5)
  const text = createMetricsText(registry, log)

  for (let scrape = 0; scrape < 2; scrape += 1) {
    const said = await text()
    expect(said).toContain('first_total 3')
    expect(said).toContain('last 5')
    expect(said).not.toContain('busy')
    expect(said).toContain('understudy_metrics_failed 1')
  }
  expect(lines).toMatchObject([{ metric: 'busy', why: 'the database is busy' }])
  broken = false
  const said = await text()
  expect(said).toContain('busy 7')
  expect(said).toContain('understudy_metrics_failed 0')
  expect(said).toBe(await registry.metrics())
})

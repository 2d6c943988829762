import { Counter, Gauge, type Registry } from 'prom-client'

const outcomes = ['changed', 'same', 'failed'] as const
const reasons = ['slow', 'signed-out', 'messages'] as const

/** What readings cost and who looks at them. */
export interface ReadingMetrics {
  read(outcome: (typeof outcomes)[number]): void
  closed(reason: (typeof reasons)[number]): void
}

export function createReadingMetrics(
  registry: Registry,
  now: () => { readonly pages: number; readonly watched: number },
): ReadingMetrics {
  const registers = [registry]
  new Gauge({
    name: 'understudy_reading_pages',
    help: 'Pages connected for readings',
    registers,
    collect() {
      this.set(now().pages)
    },
  })
  new Gauge({
    name: 'understudy_readings_watched',
    help: 'Different readings that pages watch',
    registers,
    collect() {
      this.set(now().watched)
    },
  })
  const readings = new Counter({
    name: 'understudy_readings_total',
    help: 'Readings for pages, by what came of them',
    labelNames: ['outcome'],
    registers,
  })
  const closed = new Counter({
    name: 'understudy_reading_pages_closed_total',
    help: 'Pages that were cut off from readings, by why',
    labelNames: ['reason'],
    registers,
  })
  for (const outcome of outcomes) readings.inc({ outcome }, 0)
  for (const reason of reasons) closed.inc({ reason }, 0)
  return {
    read: (outcome) => readings.inc({ outcome }),
    closed: (reason) => closed.inc({ reason }),
  }
}

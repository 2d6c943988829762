import { messageOf } from '@understudy/shared/core/app-error'
import type { Logger } from 'pino'
import { Gauge, type Registry } from 'prom-client'

const FAILED = 'understudy_metrics_failed'

/**
 * The text of a scrape. A metric whose values cannot be had, such as while the database is busy, is left out of it, and how many
 * are is one of the metrics: what is wrong elsewhere must not hide everything else.
 * @param log told when a metric begins to fail, and no more until it is there again
 */
export function createMetricsText(registry: Registry, log: Logger): () => Promise<string> {
  const failed = new Gauge({
    name: FAILED,
    help: 'Metrics that are left out of this scrape since their values could not be had; the log says why',
    registers: [registry],
  })
  const failing = new Set<string>()

  async function textOf(name: string): Promise<string | undefined> {
    try {
      const text = await registry.getSingleMetricAsString(name)
      failing.delete(name)
      return text
    } catch (error) {
      if (!failing.has(name)) log.warn({ event: 'metrics.failed', metric: name, why: messageOf(error) })
      failing.add(name)
      return undefined
    }
  }

  return async () => {
    const names = registry.getMetricsAsArray().map(({ name }) => name)
    const texts = await Promise.all(names.filter((name) => name !== FAILED).map(textOf))
    failed.set(failing.size)
    const parts = [...texts.filter((text) => text !== undefined), await textOf(FAILED)]
    return `${parts.join('\n\n')}\n`
  }
}

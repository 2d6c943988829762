import { createInterface } from 'node:readline'
import { z } from 'zod'
import { findOverlaps, readWitness } from './witness.ts'
import { startWriter, type Verdict, type Writer } from './writer.ts'

/**
 * The demo's client, in a process of its own: it talks to the virtual addresses only, and to the demo by lines of
 * JSON. Nothing that it says comes from the system that it judges.
 */

const requestSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('write'),
    agent: z.string(),
    port: z.int(),
    perSecond: z.number(),
    readsPerSecond: z.number().optional(),
  }),
  z.object({ kind: z.literal('rest'), id: z.int(), agent: z.string() }),
  z.object({ kind: z.literal('mark'), agent: z.string() }),
  z.object({ kind: z.literal('takeover'), id: z.int(), agent: z.string(), withinMillis: z.number() }),
  z.object({ kind: z.literal('verify'), id: z.int(), agent: z.string() }),
  z.object({ kind: z.literal('overlaps'), id: z.int(), witness: z.string() }),
  z.object({ kind: z.literal('stop') }),
])
export type JudgeRequest = z.infer<typeof requestSchema>

export type JudgeAnswer =
  | { readonly kind: 'verdict'; readonly id: number; readonly verdict: Verdict; readonly gapMillis: number }
  | { readonly kind: 'rest'; readonly id: number }
  | { readonly kind: 'takeover'; readonly id: number; readonly at: number | null }
  | { readonly kind: 'overlaps'; readonly id: number; readonly overlaps: readonly string[] }
  | {
      readonly kind: 'counters'
      readonly counters: readonly (Writer['counters'] & { readonly agent: string })[]
    }

const COUNTERS_EVERY = 250

export async function runJudge(input: NodeJS.ReadableStream, output: NodeJS.WritableStream): Promise<void> {
  const writers = new Map<string, Writer>()
  let started = 0
  const say = (answer: JudgeAnswer) => output.write(`${JSON.stringify(answer)}\n`)

  async function handle(message: JudgeRequest): Promise<void> {
    switch (message.kind) {
      case 'write':
        await writers.get(message.agent)?.stop()
        started += 1
        writers.set(
          message.agent,
          startWriter(message.port, message.perSecond, {
            name: `w${started}`,
            readsPerSecond: message.readsPerSecond,
          }),
        )
        return
      case 'rest':
        await writers.get(message.agent)?.stop()
        await writers.get(message.agent)?.clear()
        writers.delete(message.agent)
        say({ kind: 'rest', id: message.id })
        return
      case 'mark':
        writers.get(message.agent)?.mark()
        return
      case 'takeover': {
        const at = await writers.get(message.agent)?.takeover(message.withinMillis)
        say({ kind: 'takeover', id: message.id, at: at ?? null })
        return
      }
      case 'verify': {
        const writer = writers.get(message.agent)
        if (!writer) return
        const gapMillis = Math.round(writer.gap())
        say({ kind: 'verdict', id: message.id, verdict: await writer.verify(), gapMillis })
        return
      }
      case 'overlaps': {
        const found = findOverlaps(readWitness(message.witness))
        const overlaps = found.map(
          ({ agent, first, second }) => `${agent}: ${second} ran again after ${first}`,
        )
        say({ kind: 'overlaps', id: message.id, overlaps })
        return
      }
      case 'stop':
        lines.close()
        return
    }
  }

  const timer = setInterval(
    () =>
      say({
        kind: 'counters',
        counters: [...writers].map(([agent, { counters }]) => ({ agent, ...counters })),
      }),
    COUNTERS_EVERY,
  )
  const lines = createInterface({ input })
  lines.on('line', (line) => void handle(requestSchema.parse(JSON.parse(line))))
  // The end of the input is the end of the demo, however it came.
  await new Promise<void>((resolve) => lines.once('close', resolve))
  clearInterval(timer)
  for (const writer of writers.values()) await writer.stop()
}

import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { AppError } from '@understudy/shared/core/app-error'
import { readTrace } from '../../coordinator/src/backtest/trace-market.ts'
import { type Schedule, type Slot, slotsOf } from './schedule.ts'

/** The zones that the nodes of a join/leave log are dealt to by their number: the log names none. */
const DEALT_TO = ['deal-a', 'deal-b', 'deal-c', 'deal-d'] as const

const unpack = (bytes: Buffer): string =>
  (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString('utf8')

/**
 * A folder of availability traces of one kind of instance, one file for each zone.
 * @throws AppError `input_invalid` naming the folder or the file
 */
function readFolder(folder: string): Schedule {
  const names = listed(folder).filter((name) => /\.json(\.gz)?$/.test(name))
  const traces = names.map((name) => readTrace({ name, text: unpack(readFileSync(join(folder, name))) }))
  const [first] = traces
  if (!first) throw new AppError('input_invalid', `${folder} has no availability traces`)
  const other = traces.find(({ kind, gapSeconds }) => kind !== first.kind || gapSeconds !== first.gapSeconds)
  if (other)
    throw new AppError('input_invalid', `${folder} has traces of ${first.kind} and of ${other.kind}`, {
      hint: 'Give a folder whose traces are of one kind of instance, with ticks of one length.',
    })
  const ticks = Math.min(...traces.map(({ data }) => data.length))
  return {
    seconds: ticks * first.gapSeconds,
    zones: traces.map(({ zone }) => zone).sort(),
    slots: traces.flatMap(({ zone, data }) => slotsOf(zone, first.gapSeconds, data.slice(0, ticks))),
  }
}

function listed(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    throw new AppError('input_invalid', `${folder} is no folder that can be read`, {
      hint: 'Name one with --data, or a folder or file of traces with --trace.',
    })
  }
}

/**
 * A log of nodes that join and leave, `t_ms,add|remove,node` in the order of time: each node is a slot of its own.
 * @throws AppError `input_invalid` naming the line
 */
export function readLog(text: string, name: string): Schedule {
  const present = new Map<string, { readonly zone: string; readonly from: number }>()
  const slots: Slot[] = []
  let last = 0
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    const [, time, what, node] = /^(\d+),(add|remove),node(\d+)\s*$/.exec(line) ?? []
    const from = time === undefined ? undefined : Number(time) / 1000
    if (from === undefined || node === undefined || from < last)
      throw new AppError('input_invalid', `${name}: line ${index + 1} is not t_ms,add|remove,node in order`, {
        hint: 'Expected lines such as 40920000,remove,node172.',
      })
    last = from
    const known = present.get(node)
    if (what === 'add')
      present.set(node, { zone: DEALT_TO[Number(node) % DEALT_TO.length] ?? DEALT_TO[0], from })
    else if (known) {
      slots.push({ ...known, to: from })
      present.delete(node)
    }
  }
  if (last === 0) throw new AppError('input_invalid', `${name} has no time in it`)
  for (const known of present.values()) slots.push({ ...known, to: last })
  return { seconds: last, zones: DEALT_TO, slots }
}

/** @throws AppError `input_invalid` */
export const readSchedule = (path: string): Schedule =>
  path.endsWith('.csv') ? readLog(readLogFile(path), basename(path)) : readFolder(path)

function readLogFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    throw new AppError('input_invalid', `${path} cannot be read`)
  }
}

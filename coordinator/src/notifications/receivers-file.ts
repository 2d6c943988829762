import { AppError, messageOf } from '@understudy/shared/core/app-error'
import {
  type NotificationStage,
  notificationKinds,
  notificationStages,
} from '@understudy/shared/protocol/notifications'
import { type Document, isNode, LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import { isLocalHost } from './local-addresses.ts'
import type { Receiver, Target } from './receivers.ts'
import { parseSecret } from './signing.ts'
import { parseTemplate, type Template } from './template.ts'
import { placeholdersOf, usualTemplates } from './wording.ts'

/** What the file of receivers is read with. */
export interface ReceiversSources {
  /** How the file is called in messages. */
  readonly name: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Reads a file that a secret is in. */
  readonly readSecret: (path: string) => string
}

const variable = z
  .string()
  .regex(/^[A-Za-z_]\w*$/, 'must be the name of an environment variable')
  .refine((name) => !name.startsWith('UNDERSTUDY_'), {
    error: 'must not begin with UNDERSTUDY_: those are settings of the coordinator',
  })
const secret = z.union([z.strictObject({ env: variable }), z.strictObject({ file: z.string().min(1) })], {
  error: 'must be { env: <variable> } or { file: <path> }: no secret is written into this file',
})
type SecretSource = z.infer<typeof secret>

const common = {
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'must be 1 to 40 small letters, digits and dashes'),
  allow_local: z.boolean().default(false),
  stages: z
    .array(z.enum(notificationStages))
    .min(1)
    .default([...notificationStages]),
  kinds: z
    .array(z.enum(notificationKinds))
    .min(1)
    .default([...notificationKinds]),
  agents: z
    .array(z.string().regex(/^[\w.*-]{1,63}$/, 'must be an agent id, in which * stands for anything'))
    .default([]),
  templates: z.partialRecord(z.enum(notificationStages), z.string().min(1).max(3000)).default({}),
}
const address = z.union([z.string(), secret], { error: 'must be an address, or where it is: env or file' })

const receiverSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('webhook'),
    ...common,
    url: address,
    format: z.enum(['standard', 'slack']).default('standard'),
    secrets: z.array(secret).max(2).default([]),
  }),
  z.strictObject({
    kind: z.literal('slack'),
    ...common,
    url: address.default('https://slack.com/api/chat.postMessage'),
    token: secret,
    channel: z.string().regex(/^[#@]?[\w-]{1,80}$/, 'must be the id or the name of a channel'),
  }),
])
const fileSchema = z.strictObject({ receivers: z.array(receiverSchema).max(20) })
type ReceiverEntry = z.infer<typeof receiverSchema>

type Path = readonly (string | number)[]
type Complain = (path: Path, message: string, at?: number) => void

/**
 * Reads who is to be told what. Everything that is wrong is said at once, each with its line.
 * @throws AppError `config_invalid`
 */
export function parseReceivers(text: string, sources: ReceiversSources): readonly Receiver[] {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  const problems: { pointer: string; message: string }[] = []
  const say = (line: number, path: Path, message: string) =>
    problems.push({
      pointer: `/${path.join('/')}`,
      message: `${sources.name}:${line}: ${nameOf(path)}${message}`,
    })
  const complain: Complain = (path, message, at) =>
    say(lines.linePos(at ?? offsetOf(document, path)).line || 1, path, message)

  for (const error of document.errors)
    say(error.linePos?.[0].line ?? 1, [], error.message.split('\n')[0] ?? '')
  if (problems.length > 0) throw invalid(problems)
  const parsed = fileSchema.safeParse(document.toJS({ maxAliasCount: 0 }) ?? {})
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const path = issue.path.map((key) => (typeof key === 'number' ? key : String(key)))
      complain(path, issue.message)
    }
    throw invalid(problems)
  }
  const receivers = parsed.data.receivers.map((entry, index) =>
    toReceiver(entry, (path, message, at) => complain(['receivers', index, ...path], message, at), {
      sources,
      startOf: (path) => ({ text, from: offsetOf(document, ['receivers', index, ...path]) }),
    }),
  )
  for (const [index, { name }] of receivers.entries())
    if (receivers.findIndex((other) => other.name === name) < index)
      complain(['receivers', index, 'name'], `there is another receiver "${name}"`)
  if (problems.length > 0) throw invalid(problems)
  return receivers
}

const invalid = (errors: readonly { pointer: string; message: string }[]): AppError =>
  new AppError('config_invalid', errors.map(({ message }) => message).join('\n'), {
    errors,
    hint: 'Correct the lines above; docs/notifications.md shows what they can say.',
  })

interface Surroundings {
  readonly sources: ReceiversSources
  /** Where the text of a value begins in the file. */
  readonly startOf: (path: Path) => { readonly text: string; readonly from: number }
}

function toReceiver(entry: ReceiverEntry, complain: Complain, around: Surroundings): Receiver {
  const { sources } = around
  const url = typeof entry.url === 'string' ? entry.url : read(entry.url, ['url'], complain, sources)
  if (url !== undefined) checkAddress(url, entry.allow_local, complain)
  if (url !== undefined && entry.kind === 'slack' && isOpenHttp(url))
    complain(['url'], 'must be an https address: a token goes over it')
  return {
    name: entry.name,
    url: url ?? '',
    target: targetOf(entry, complain, sources),
    allowLocal: entry.allow_local,
    stages: entry.stages,
    kinds: entry.kinds,
    agents: entry.agents,
    templates: templatesOf(entry.templates, complain, around),
  }
}

/** The address itself is not said: the path of a webhook is often its only secret. */
function checkAddress(url: string, allowLocal: boolean, complain: Complain): void {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (!parsed || (parsed.protocol !== 'https:' && parsed.protocol !== 'http:'))
    return complain(['url'], 'must be an http or https address')
  if (parsed.username !== '' || parsed.password !== '')
    return complain(['url'], 'must not hold a user or a password')
  if (!allowLocal && isLocalHost(parsed.hostname))
    complain(['url'], `${parsed.hostname} is this machine or its link; allow_local: true lets it be told`)
}

const isOpenHttp = (url: string): boolean =>
  URL.canParse(url) && new URL(url).protocol === 'http:' && !isLocalHost(new URL(url).hostname)

function targetOf(entry: ReceiverEntry, complain: Complain, sources: ReceiversSources): Target {
  if (entry.kind === 'slack') {
    const token = read(entry.token, ['token'], complain, sources)
    if (token !== undefined && !/^[\w.-]{10,500}$/.test(token))
      complain(['token'], 'what is there is no token of Slack')
    return { kind: 'slack', token: token ?? '', channel: entry.channel }
  }
  if (entry.format === 'standard' && entry.secrets.length === 0)
    complain(
      ['secrets'],
      'a webhook is signed: name a secret, as [{ file: <path> }] or [{ env: <variable> }]',
    )
  const secrets = entry.secrets.flatMap((source, index) => {
    const text = read(source, ['secrets', index], complain, sources)
    const bytes = text === undefined ? undefined : parseSecret(text)
    if (text !== undefined && !bytes)
      complain(
        ['secrets', index],
        'what is there is no secret: it must be whsec_ and the base64 of 24 to 64 bytes, as of echo "whsec_$(openssl rand -base64 32)"',
      )
    return bytes ?? []
  })
  return { kind: 'webhook', format: entry.format, secrets }
}

function read(
  source: SecretSource,
  path: Path,
  complain: Complain,
  { env, readSecret }: ReceiversSources,
): string | undefined {
  if ('env' in source) {
    const value = env[source.env]?.trim()
    if (!value) complain(path, `the environment variable ${source.env} is not set`)
    return value || undefined
  }
  try {
    const value = readSecret(source.file).trim()
    if (value === '') complain(path, `${source.file} is empty`)
    return value || undefined
  } catch (error) {
    complain(path, `${source.file} cannot be read (${messageOf(error)})`)
    return undefined
  }
}

function templatesOf(
  own: Readonly<Partial<Record<NotificationStage, string>>>,
  complain: Complain,
  { startOf }: Surroundings,
): Record<NotificationStage, Template> {
  const templates = {} as Record<NotificationStage, Template>
  for (const stage of notificationStages) {
    const source = own[stage] ?? usualTemplates[stage]
    const { template, problems } = parseTemplate(source, placeholdersOf(stage))
    templates[stage] = template
    for (const { at, message } of problems) {
      const { text, from } = startOf(['templates', stage])
      // Folded and quoted texts are not in the file as they are read, but their placeholders are.
      const found = text.indexOf(source.slice(at, at + 6), from)
      complain(['templates', stage], message, found === -1 ? from : nthOccurrence(source, at, text, from))
    }
  }
  return templates
}

/** The same piece may be there more than once, and right in other lines. */
function nthOccurrence(source: string, at: number, text: string, from: number): number {
  const piece = source.slice(at, at + 6)
  let found = from - 1
  for (let seen = source.indexOf(piece); seen !== -1 && seen <= at; seen = source.indexOf(piece, seen + 1))
    found = text.indexOf(piece, found + 1)
  return found === -1 ? from : found
}

/** Where the value at a path begins, or what is nearest to it if there is none. */
function offsetOf(document: Document, path: Path): number {
  for (let length = path.length; length > 0; length -= 1) {
    const node = document.getIn(path.slice(0, length), true)
    if (isNode(node) && node.range) return node.range[0]
  }
  return 0
}

/** `receivers[0].url `, with a space where something follows. */
const nameOf = (path: Path): string =>
  path.length === 0
    ? ''
    : `${path.map((key, i) => (typeof key === 'number' ? `[${key}]` : i === 0 ? key : `.${key}`)).join('')}: `

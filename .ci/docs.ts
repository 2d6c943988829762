import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { agentOptions } from '../agent/src/config/options.ts'
import { coordinatorOptions } from '../coordinator/src/config/options.ts'
import { docsOf } from '../shared/src/core/options.ts'

/** `pnpm docs:update` writes docs/configuration.md from the option tables; `--check` only says whether it is current. */

const file = fileURLToPath(new URL('../docs/configuration.md', import.meta.url))

const text = `# Configuration

Made by \`pnpm docs:update\` from \`agent/src/config/options.ts\` and \`coordinator/src/config/options.ts\`: do not edit.

A flag wins over the environment, the environment over the file, the file over the default. Unknown keys, flags and
\`UNDERSTUDY_*\` variables are errors; a bad value is reported with its name, the value and what is allowed, all of them at
once. A secret is never a flag and never printed: give it in the environment, or name a file with \`<NAME>_FILE\`.

## Agent

\`pnpm agent run --config agent.yaml\`. \`pnpm agent doctor --config agent.yaml\` tries every setting without
starting anything. What goes under \`workload\` is in [agent.md](agent.md).

${docsOf(agentOptions)}

## Coordinator

\`pnpm coordinator serve\`, with \`--config coordinator.yaml\` or without a file.

${docsOf(coordinatorOptions)}
`

const { values: flags } = parseArgs({ options: { check: { type: 'boolean', default: false } } })
const current = await readFile(file, 'utf8').catch(() => '')
if (!flags.check) await writeFile(file, text)
else if (current !== text) {
  process.stderr.write('docs/configuration.md does not match the option tables: run pnpm docs:update\n')
  process.exitCode = 1
}

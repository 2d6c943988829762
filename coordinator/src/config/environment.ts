import { readFileSync } from 'node:fs'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { parse } from 'yaml'
import { z } from 'zod'
import type { CoordinatorConfig } from './options.ts'

/** As much of a kubeconfig as shows that it is one. */
const kubeconfigSchema = z
  .object({
    clusters: z.array(z.object({ name: z.string(), cluster: z.object({ server: z.string() }) })).min(1),
    contexts: z.array(z.object({ name: z.string() })).min(1),
    'current-context': z.string().min(1),
  })
  .refine((config) => config.contexts.some(({ name }) => name === config['current-context']), {
    error: 'current-context names none of the contexts',
  })

/**
 * What the coordinator takes itself for: what is said, else PROD with `--prod` or a Kubernetes configuration, and TEST where
 * nobody says anything, because there nothing is risked.
 * @throws AppError `config_invalid` when K8S_CONFIG_PATH names no Kubernetes configuration
 */
export function environmentOf(
  config: Pick<CoordinatorConfig, 'environment' | 'prod' | 'k8s_config_path'>,
): 'TEST' | 'PROD' {
  const { environment, prod, k8s_config_path: path } = config
  if (path !== undefined) assertKubeconfig(path)
  return environment ?? (prod || path !== undefined ? 'PROD' : 'TEST')
}

function assertKubeconfig(path: string): void {
  try {
    kubeconfigSchema.parse(parse(readFileSync(path, 'utf8')))
  } catch (cause) {
    const why =
      cause instanceof z.ZodError
        ? cause.issues.map(({ path: at, message }) => `${at.join('.') || 'it'}: ${message}`).join('; ')
        : messageOf(cause)
    throw new AppError('config_invalid', `K8S_CONFIG_PATH names ${path}, which is no kubeconfig (${why})`, {
      hint: 'Name a file such as ~/.kube/config, or take the setting out.',
    })
  }
}

import type { Component } from 'svelte'
import type { Route } from '../../route.ts'
import type { PageProps } from './page-parts.ts'

type Loader<P extends Route['page']> = () => Promise<{ default: Component<PageProps<P>> }>

/** Pages that are loaded when they are first looked at: each is a file of its own. */
const lazyPages = {
  agent: () => import('../agent/AgentPage.svelte'),
  lab: () => import('../lab/LabPage.svelte'),
  switches: () => import('../switches/SwitchesPage.svelte'),
  decisions: () => import('../decisions/DecisionsPage.svelte'),
  models: () => import('../models/ModelsPage.svelte'),
  model: () => import('../models/ModelPage.svelte'),
  'gap-filler': () => import('../gap-filler/GapFillerPage.svelte'),
  engines: () => import('../engines/EnginesPage.svelte'),
  settings: () => import('../settings/SettingsPage.svelte'),
  pools: () => import('../pools/PoolsPage.svelte'),
} satisfies { readonly [P in Route['page']]?: Loader<P> }

export type LazyName = keyof typeof lazyPages

export const isLazy = (page: Route['page']): page is LazyName => Object.hasOwn(lazyPages, page)

/** The page for a route with this name; it may only be given that. */
export const loadPage = async (page: LazyName): Promise<Component<PageProps<Route['page']>>> =>
  (await lazyPages[page]()).default as unknown as Component<PageProps<Route['page']>>

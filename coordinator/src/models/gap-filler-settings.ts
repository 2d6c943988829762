/** What is set for the gap filler of models, under the names of the settings. */
interface Named {
  readonly gap_filler_enabled: boolean
  readonly gap_filler_instance_types: readonly string[]
  readonly gap_filler_regions: readonly string[]
  readonly gap_filler_aws_region: readonly string[]
  readonly aws_region: readonly string[]
  readonly gap_filler_historic_days_max: number
}

export interface GapFillerSettings {
  /** Whether it begins by itself at the start and when a version is activated. */
  readonly enabled: boolean
  /** Empty: those in use. */
  readonly instanceTypes: readonly string[]
  readonly regions: readonly string[]
  /** How many days back prices are fetched at most. */
  readonly daysMax: number
}

/** Regions by the first of the settings that names any. */
export function gapFillerSettings(config: Named): GapFillerSettings {
  const named = [config.gap_filler_regions, config.gap_filler_aws_region, config.aws_region]
  return {
    enabled: config.gap_filler_enabled,
    instanceTypes: config.gap_filler_instance_types,
    regions: named.find((regions) => regions.length > 0) ?? [],
    daysMax: config.gap_filler_historic_days_max,
  }
}

import type { Generated } from 'kysely'

/** The tables of prices: `pool` is `pools.id`, `at` the start of a bucket or the moment of a change. */
export interface MarketSchema {
  pools: PoolRow
  pricing_submissions_raw: SubmissionRow
  pricing_snapshots_clean: SnapshotRow
  price_changes: PriceChangeRow
  price_coverage: CoverageRow
  pricing_snapshots_interpolated: InterpolatedPriceRow
  data_gaps: GapRow
  price_fetches: PriceFetchRow
  on_demand_prices: OnDemandPriceRow
  spot_advisor_data: SpotAdvisorRow
  instance_types: InstanceTypeRow
  availability_zones: AvailabilityZoneRow
  catalog_sources: CatalogSourceRow
  spot_prices: SpotPriceView
}

export interface PoolRow {
  id: Generated<number>
  pool_id: string
  instance_type: string
  availability_zone: string
  az_id: string | null
  region: string
  product: Generated<string>
}

/** Everything that agents have sent, taken or not: what was said, by whom, and what was made of it. */
export interface SubmissionRow {
  id: Generated<number>
  submission_id: string
  agent_id: string
  instance_id: string
  /** primary or replica. */
  role: string
  pool_id: string
  /** 0 where the time could not be read. */
  sampled_at: number
  price: number | null
  /** The price as it came. */
  given: string
  /** accepted or refused. */
  verdict: string
  reason: string | null
  received_at: number
}

/** The sample that stands for its pool and bucket. */
export interface SnapshotRow {
  pool: number
  at: number
  price: number
  /** In hundredths: 100 was sent by a primary, 95 by a replica. */
  confidence: number
  sampled_at: number
  instance_id: string
  agent_id: string
}

/** From `at` on it cost so much, until the next change. */
export interface PriceChangeRow {
  pool: number
  at: number
  price: number
  source: string
}

/** In `[from_at, to_at)` no change is missing; the rows of a pool are disjoint. */
export interface CoverageRow {
  pool: number
  from_at: number
  to_at: number
  source: string
  fetched_at: number
}

export interface InterpolatedPriceRow {
  pool: number
  at: number
  price: number
  /** In hundredths. */
  confidence: number
  gap_class: string
  method: string
  /** JSON. */
  inputs: string
  before_at: number
  before_price: number
  after_at: number
  after_price: number
  batch_id: string
  created_at: number
}

export interface GapRow {
  pool: number
  from_at: number
  to_at: number
  buckets: number
  gap_class: string
  /** filled, empty (with the reason), open (it has not ended), stale (prices have come since: to be looked at again). */
  status: string
  reason: string | null
  batch_id: string | null
  found_at: number
}

export interface PriceFetchRow {
  id: string
  /** backfill, manual or import. */
  kind: string
  /** JSON. */
  request: string
  /** queued, running, done, failed or cancelled. */
  status: string
  done: number
  total: number
  rows_written: number
  error: string | null
  /** JSON: where to go on. */
  cursor: string | null
  created_at: number
  started_at: number | null
  ended_at: number | null
}

export interface OnDemandPriceRow {
  instance_type: string
  region: string
  os: string
  price: number
  source: string
  as_of: number | null
  fetched_at: number
}

export interface SpotAdvisorRow {
  instance_type: string
  region: string
  os: string
  /** 0 (below 5 % a month) to 4 (above 20 %). */
  band: number
  savings_percent: number
  as_of: number | null
  fetched_at: number
}

export interface InstanceTypeRow {
  instance_type: string
  vcpu: number
  memory_mib: number
  architecture: string
  gpu_count: number
  gpu_name: string | null
  network_gbps: number | null
  burstable: number
  bare_metal: number
  source: string
  as_of: number | null
}

export interface AvailabilityZoneRow {
  az_name: string
  az_id: string
  region: string
  source: string
  fetched_at: number
}

/** Where a part of the catalog comes from, and how the last look at it went. */
export interface CatalogSourceRow {
  name: string
  url: string
  etag: string | null
  as_of: number | null
  fetched_at: number | null
  checked_at: number
  error: string | null
}

/** Clean prices under the names of the ML server; it is a view. */
export interface SpotPriceView {
  pool_id: string
  instance_type: string
  availability_zone: string
  region: string
  at: number
  price: number
  source: string
  confidence: number
}

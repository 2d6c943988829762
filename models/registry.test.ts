import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { DEFAULT_MODEL_FEATURES, featureCatalog } from '../shared/src/market/feature-catalog.ts'
import { PRICE_INSTABILITY_12H } from '../shared/src/market/price-rise.ts'

/**
 * What a manifest says and what the features' code does have to agree. That the ONNX file gives the golden rows is
 * checked by models/training/verify.py, and by the coordinator before it serves a model.
 */

interface Manifest {
  readonly version: string
  readonly sha256: string
  readonly input: {
    readonly features: readonly {
      readonly name: string
      readonly unit: string
      readonly nullable: boolean
      readonly min: number
      readonly max: number
      readonly ref: { readonly edges: number[]; readonly counts: number[]; readonly null_count: number }
    }[]
  }
  readonly target: { readonly horizon_h: number; readonly definition: string }
  readonly trained_until: string
  readonly decision_threshold: number
  readonly golden: readonly { readonly x: (number | null)[]; readonly y: number; readonly tol: number }[]
}

const models = fileURLToPath(new URL('registry/price-instability/', import.meta.url))

describe.each(readdirSync(models))('price-instability %s', (version) => {
  const folder = join(models, version)
  const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Manifest
  const { features } = manifest.input

  test('the file is the one that the manifest speaks of, and small', () => {
    const bytes = readFileSync(join(folder, 'model.onnx'))
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(manifest.sha256)
    expect(manifest.version).toBe(version)
    expect(statSync(join(folder, 'model.onnx')).size).toBeLessThanOrEqual(2 * 2 ** 20)
  })

  test('its features are those that the code makes, in that order and with those limits', () => {
    expect(features.map(({ name }) => name)).toEqual(DEFAULT_MODEL_FEATURES)
    for (const feature of features)
      expect(featureCatalog.map((known) => ({ ...known }))).toContainEqual(without(feature))
  })

  test('each feature has deciles to tell drift by, within its limits', () => {
    for (const { name, nullable, min, max, ref } of features) {
      expect(ref.counts, name).toHaveLength(ref.edges.length - 1)
      expect(ref.edges, name).toEqual([...new Set(ref.edges)].sort((a, b) => a - b))
      expect(
        ref.edges.every((edge) => edge >= min && edge <= max),
        name,
      ).toBe(true)
      expect(nullable || ref.null_count === 0, name).toBe(true)
    }
  })

  test('golden rows fit the features: as wide, exact in float32, unknown only where that may be', () => {
    expect(manifest.golden.length).toBeGreaterThanOrEqual(10)
    expect(manifest.golden.some(({ x }) => x.includes(null))).toBe(true)
    for (const { x, y, tol } of manifest.golden) {
      expect(x).toHaveLength(features.length)
      expect(tol).toBe(1e-4)
      expect(y >= 0 && y <= 1).toBe(true)
      x.forEach((v, i) => {
        const feature = features[i]
        if (v === null) expect(feature?.nullable, feature?.name).toBe(true)
        else {
          expect(Math.fround(v)).toBe(v)
          expect(v >= (feature?.min ?? 0) && v <= (feature?.max ?? 0), feature?.name).toBe(true)
        }
      })
    }
    expect(Math.max(...manifest.golden.map(({ y }) => y))).toBeGreaterThan(manifest.decision_threshold)
  })

  test('the target is the one that labels are made by, and is called a price instability', () => {
    expect(manifest.target.horizon_h * 3_600_000).toBe(PRICE_INSTABILITY_12H.horizon)
    expect(manifest.target.definition).toContain(`> ${PRICE_INSTABILITY_12H.factor} *`)
    expect(manifest.trained_until).toMatch(/^\d{4}-\d\d-\d\d$/)
    const card = readFileSync(join(folder, 'card.md'), 'utf8')
    expect(card).toContain('Price instability')
    expect(card.toLowerCase()).not.toContain('interruption probability')
  })
})

const without = <T extends { readonly ref: unknown }>({ ref: _, ...feature }: T) => feature

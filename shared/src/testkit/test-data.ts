import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Where the files may be: where TEST_DATA says, or in `shared/data` beside the checkout, or in /work/shared/data. */
const places = (): readonly string[] => {
  const { TEST_DATA: named } = process.env
  if (named) return [resolve(named)]
  return [fileURLToPath(new URL('../../../../shared/data', import.meta.url)), '/work/shared/data']
}

/** A file of public data, which is too large for the repository, or why there is none. */
export interface TestData {
  /** Empty where there is none. */
  readonly path: string
  /** Undefined where the file is there. */
  readonly missing: string | undefined
}

/**
 * Real prices and catalogs for tests, such as `prices/sa-east-1_2019-12-31_2020-06-23_linux.csv.gz`. A test without its
 * file says so and is skipped, except where REQUIRE_TEST_DATA=1 asks for it, as `.ci/run` does.
 * @throws Error then
 */
export function testData(file: string): TestData {
  const all = places()
  const path = all.map((place) => join(place, file)).find((candidate) => existsSync(candidate))
  if (path !== undefined) return { path, missing: undefined }
  const missing = `there is no ${file} in ${all.join(' or ')}; TEST_DATA names another directory`
  if (process.env.REQUIRE_TEST_DATA === '1') throw new Error(`${missing}. REQUIRE_TEST_DATA=1 asks for it.`)
  process.stderr.write(`tests are skipped: ${missing}\n`)
  return { path: '', missing }
}

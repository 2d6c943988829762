/** Who may import whom. Each rule was seen to fire; `.ci/import-rules.test.ts` keeps it so. */
const only = (name, path, allowed) => ({ name, severity: 'error', from: { path }, to: { pathNot: allowed } })

export default {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'packages-meet-in-shared',
      severity: 'error',
      from: { path: '^(agent|coordinator|dashboard|shared)/' },
      to: { path: '^(agent|coordinator|dashboard)/', pathNot: '^$1/' },
    },
    only('failover-core-is-pure', '^shared/src/failover/(?!.*[.]test[.]ts$)', '^shared/src/(failover|core)/'),
    {
      name: 'shared-knows-no-node',
      severity: 'error',
      from: {
        path: '^shared/src/(?!.*[.]test[.]ts$)',
        pathNot: '^shared/src/(protocol/vote-signing[.]ts$|testkit/)',
      },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'testkit-is-for-tests',
      severity: 'error',
      from: {
        path: '^(agent|coordinator|dashboard|shared)/src/(?!.*[.]test[.]ts$|.*testing[.]ts$|testkit/)',
        pathNot: '^shared/src/testkit/',
      },
      to: { path: '^shared/src/testkit/|/testing[.]ts$' },
    },
    {
      name: 'sdk-stays-in-its-adapter',
      severity: 'error',
      from: { pathNot: '^coordinator/src/(cloud/ec2|cluster)/|^agent/src/snapshot/|test[.]ts$' },
      to: { path: '(@aws-sdk|@kubernetes)/' },
    },
    {
      name: 'drivers-stay-in-storage',
      severity: 'error',
      from: { pathNot: '(/storage/|test[.]ts$)' },
      to: { path: 'node_modules/(better-sqlite3|@types/better-sqlite3|postgres|pg)/' },
    },
    {
      name: 'enter-a-domain-by-its-front-door',
      severity: 'error',
      from: { path: '^coordinator/src/([^/]+)/', pathNot: '^coordinator/src/(commands|demo)/' },
      to: {
        path: '^coordinator/src/[^/]+/',
        pathNot: [
          '^coordinator/src/(?:$1|cloud|storage)/',
          '^coordinator/src/(?<d>\\w+)/\\k<d>[.]ts$',
          '/testing[.]ts$',
        ],
      },
    },
    {
      name: 'nothing-unresolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)(dist|node_modules/.pnpm/[^/]+/node_modules/[^/]+/node_modules)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'node', 'default'],
    },
  },
}

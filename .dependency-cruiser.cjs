/** Who may import what (the layout in the design). scripts/depcruise.ts runs it and checks that modules were really read. */
const parts = 'capture|apply|reconcile|lease|chunk|codec|metrics|http|config|runtime|cli';

/** A part of src may import itself, the core and the parts named. */
function part(name, allowed) {
  return {
    name: `${name}-imports`,
    comment: `src/${name} imports the core${allowed.length > 0 ? ', ' + allowed.join(', ') : ''} and nothing else of the project.`,
    severity: 'error',
    from: { path: `^src/${name}/` },
    to: { path: '^(src|connectors)/', pathNot: `^src/(core|${[name, ...allowed].join('|')})/` },
  };
}

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'nothing-unresolved',
      comment: 'An import that leads nowhere would also hide from every other rule.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'core-imports-nothing',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { pathNot: '^src/core/', dependencyTypesNot: ['core'] },
    },
    {
      name: 'core-is-pure',
      comment: 'Hashing is the only thing that the core takes from Node.',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { dependencyTypes: ['core'], pathNot: '^(node:)?crypto$' },
    },
    part('capture', ['chunk', 'codec', 'lease', 'metrics']),
    part('apply', ['codec', 'lease', 'metrics']),
    part('reconcile', ['chunk', 'codec', 'lease', 'metrics']),
    part('chunk', ['codec', 'metrics']),
    part('lease', ['codec', 'metrics']),
    part('codec', []),
    part('metrics', []),
    part('config', []),
    part('http', ['metrics', 'config']),
    {
      name: 'metrics-client-in-metrics',
      comment: 'The loops report to plain observers; only src/metrics knows the metrics library.',
      severity: 'error',
      from: { path: '^(src|connectors)/', pathNot: '^src/metrics/' },
      to: { path: 'node_modules/prom-client' },
    },
    {
      name: 'only-main-imports-the-command-line',
      severity: 'error',
      from: { path: `^(src|connectors)/`, pathNot: '^src/(main\\.ts$|cli/)' },
      to: { path: '^src/cli/' },
    },
    {
      name: 'connector-imports-core-and-lib',
      comment: 'A connector sees the core and what connectors of the same system share.',
      severity: 'error',
      from: { path: '^connectors/([^/]+)/' },
      to: { path: '^(src|connectors)/', pathNot: ['^src/core/', '^connectors/lib/', '^connectors/$1/'] },
    },
    {
      name: 'registry-from-the-top-only',
      severity: 'error',
      from: { path: '^(src|connectors)/', pathNot: '^src/(main\\.ts$|cli/|runtime/)' },
      to: { path: '^connectors/registry\\.ts$' },
    },
    {
      name: 'connectors-through-the-registry',
      comment: 'Only the registry names connectors; everything else speaks to ports.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^connectors/', pathNot: '^connectors/registry\\.ts$' },
    },
    {
      name: 'no-test-code-in-the-product',
      severity: 'error',
      from: { path: '^(src|connectors)/' },
      to: { path: '^(test|demo|bench|scripts)/' },
    },
    {
      name: 'only-declared-packages',
      severity: 'error',
      from: { path: '^(src|connectors)/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'npm-optional', 'npm-peer'], dependencyTypesNot: ['type-only'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.json'],
    },
  },
};

import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Time and chance reach the code through the `Runtime` port, so that the simulator can replay everything from one seed. */
const throughRuntime = 'Take it from the Runtime port: time and chance live in src/runtime only.';
const processElsewhere = 'Only src/runtime, src/main.ts and src/cli touch the process: take what you need as an argument.';

const timeAndChance = ['Date', 'performance', 'setTimeout', 'setInterval', 'setImmediate'].map((name) => ({
  name,
  message: throughRuntime,
}));
const theProcess = { name: 'process', message: processElsewhere };

const timeAndChanceSyntax = [
  { selector: "MemberExpression[object.name='Math'][property.name='random']", message: throughRuntime },
  { selector: "MemberExpression[object.name='AbortSignal'][property.name='timeout']", message: throughRuntime },
  {
    selector:
      "MemberExpression[object.name='globalThis'][property.name=/^(Date|performance|setTimeout|setInterval|setImmediate|process)$/]",
    message: throughRuntime,
  },
  {
    selector: 'MemberExpression[property.name=/^(randomUUID|randomBytes|randomInt|getRandomValues)$/]',
    message: throughRuntime,
  },
];
const eraseOnlySyntax = [
  { selector: 'TSEnumDeclaration', message: 'A closed union of strings instead: the code runs under type stripping.' },
];

const timeModules = ['node:timers', 'node:timers/promises', 'node:perf_hooks'].map((name) => ({ name, message: throughRuntime }));
const chanceModule = {
  name: 'node:crypto',
  importNames: ['randomUUID', 'randomBytes', 'randomInt', 'getRandomValues', 'webcrypto'],
  message: throughRuntime,
};
const processModule = { name: 'node:process', message: processElsewhere };

export default tseslint.config(
  { ignores: ['node_modules/', 'dist/', 'coverage/', 'test-results/', '**/*.d.ts', '.dependency-cruiser.cjs'] },
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/no-floating-promises': ['error', { ignoreVoid: false }],
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrorsIgnorePattern: '^_' }],
      // `while (true)` is how a loop that ends by its signal is written.
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: 'only-allowed-literals' }],
      // A function without a result may be an expression body: `() => void set.add(x)` says it worse.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      'no-restricted-globals': ['error', ...timeAndChance, theProcess],
      'no-restricted-imports': ['error', { paths: [...timeModules, chanceModule, processModule] }],
      'no-restricted-syntax': ['error', ...eraseOnlySyntax, ...timeAndChanceSyntax],
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  {
    files: ['src/main.ts', 'src/cli/**'],
    rules: {
      'no-restricted-globals': ['error', ...timeAndChance],
      'no-restricted-imports': ['error', { paths: [...timeModules, chanceModule] }],
    },
  },
  {
    files: ['src/runtime/**', 'test/**', 'demo/**', 'scripts/**', 'bench/**', '*.config.ts', '*.config.mjs'],
    rules: {
      'no-restricted-globals': 'off',
      'no-restricted-imports': 'off',
      'no-restricted-syntax': ['error', ...eraseOnlySyntax],
    },
  },
  {
    files: ['demo/**', 'scripts/**', 'bench/**'],
    rules: { 'no-console': 'off' },
  },
  { files: ['**/*.mjs', '**/*.cjs'], extends: [tseslint.configs.disableTypeChecked] },
);

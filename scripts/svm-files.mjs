/** Boot, ring, port, trap, memory and kick tests: what depends on the kind of KVM, and so runs in the emulated machine too. The rest would only take longer there. */
export const SVM_FILES = [
  "tests/vm/boot.test.ts",
  "tests/vm/traps.test.ts",
  "tests/vm/traps-memory.test.ts",
  "tests/vm/memory-growth.test.ts",
  "tests/vm/memories.test.ts",
  "tests/vm/timeout.test.ts",
  "tests/hostile/privileged.test.ts",
  "tests/hostile/ports.test.ts",
];

/** vitest's report of the run in the emulated machine. */
export const SVM_REPORT = "build/reports/svm.json";

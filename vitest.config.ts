import { defineConfig } from "vitest/config";

// Two projects: what runs in memory runs side by side; what starts daemons and containers runs one file at a
// time, because those tests count processes, mounts and cgroups of the machine.
export default defineConfig({
  test: {
    pool: "forks",
    projects: [
      {
        extends: true,
        test: {
          name: "memory",
          include: ["test/unit/**/*.test.ts", "test/property/**/*.test.ts", "test/*.test.ts"],
          testTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: "machine",
          include: ["test/integration/**/*.test.ts", "test/compat/**/*.test.ts", "test/fault/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});

/**
 * The main thread's end of the metrics sampler: a piscina pool of one thread, started at the first scrape.
 * Scrapes that come close together share one sample.
 */
import { Piscina } from "piscina";
import type { SampledTask } from "./metrics-sampler.worker.js";

export interface MetricsSampler {
  /** Prometheus text of these tasks' cgroups, at most `maxAgeMs` old. Rejects when the thread does not answer in time. */
  containerMetrics(tasks: () => Promise<readonly SampledTask[]>): Promise<string>;
  close(): Promise<void>;
}

export interface MetricsSamplerOptions {
  readonly workerFile: string;
  readonly maxAgeMs: number;
  readonly timeoutMs: number;
  readonly now: () => number;
}

export function createMetricsSampler({
  workerFile,
  maxAgeMs,
  timeoutMs,
  now,
}: MetricsSamplerOptions): MetricsSampler {
  let pool: Piscina | undefined;
  let last: { readonly at: number; readonly text: Promise<string> } | undefined;

  async function sample(tasks: () => Promise<readonly SampledTask[]>): Promise<string> {
    // A thread costs some 8 MiB: none before the first scrape, and it goes when nobody scrapes any more.
    pool ??= new Piscina({
      filename: workerFile,
      minThreads: 0,
      maxThreads: 1,
      maxQueue: 4,
      idleTimeout: 60_000,
    });
    return pool.run(await tasks(), { signal: AbortSignal.timeout(timeoutMs) });
  }

  return {
    containerMetrics(tasks) {
      if (last === undefined || now() - last.at >= maxAgeMs) {
        const text = sample(tasks);
        const mine = { at: now(), text };
        last = mine;
        // A failed sample is nobody's snapshot: the next scrape tries again.
        text.catch(() => {
          if (last === mine) last = undefined;
        });
      }
      return last.text;
    },
    close: async () => {
      await pool?.destroy();
      pool = undefined;
    },
  };
}

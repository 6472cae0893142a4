/** Handing streams to the pump within a deadline. */
import { deadlineExceeded } from "../../core/errors.js";
import type { PumpHost } from "../../workers/stdio-pump-host.js";
import { maxTimerMs } from "./drain.js";
import type { PumpedInput, PumpedOutput } from "./pumped-streams.js";

/** Starts all of a process's streams on one thread. When it rejects, the streams must still be closed. */
export async function startPumps(
  pump: PumpHost,
  streams: readonly (PumpedInput | PumpedOutput)[],
  timeoutMs: number,
): Promise<void> {
  if (streams.length === 0) return;
  const { handles, started } = pump.attach(streams.map((stream) => stream.spec));
  streams.forEach((stream, index) => {
    const handle = handles[index];
    if (handle !== undefined) stream.begin(handle);
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(deadlineExceeded(`the stdio pump did not start within ${timeoutMs} ms`)),
      Math.min(Math.max(0, timeoutMs), maxTimerMs),
    );
  });
  try {
    await Promise.race([started, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether containers here can be checkpointed, which decides how their output travels. */
import { execa } from "execa";

const checkTimeoutMs = 10_000;

/** True when a criu is installed and says that this kernel has what it needs. Never throws. */
export async function criuWorks(): Promise<boolean> {
  const { failed } = await execa("criu", ["check"], {
    reject: false,
    stdio: "ignore",
    timeout: checkTimeoutMs,
    killSignal: "SIGKILL",
    cwd: "/",
  });
  return !failed;
}

/** Exits as tasks see them, from the reaper. */
import type { Reaper } from "../../native/reaper.js";
import type { ExitSource } from "../ports.js";

export const exitSource = (reaper: Reaper): ExitSource => ({
  mark: () => reaper.mark(),
  watch: (pid, since, onExit) =>
    reaper.watch(pid, ({ exitStatus, reapedAt }) => onExit({ pid, exitStatus, exitedAt: reapedAt }), since),
});

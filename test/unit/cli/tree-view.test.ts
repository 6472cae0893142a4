import { describe, expect, it } from "vitest";
import type { TreeNode as KernelNode } from "../../../src/actors/kernel/types.js";
import { renderTree, type TreeNode } from "../../../src/cli/tree-view.js";

const actor = (path: string, fields: Partial<KernelNode> = {}): KernelNode => ({
  path,
  type: "actor",
  kind: "container",
  status: "running",
  phase: "running",
  strategy: undefined,
  restart: "transient",
  mailboxDepth: 0,
  mailboxLimit: 1024,
  current: undefined,
  handled: 3,
  restarts: 0,
  lastCrash: undefined,
  handling: undefined,
  children: [],
  ...fields,
});
const supervisor = (path: string, children: readonly KernelNode[]): KernelNode => ({
  ...actor(path, { type: "supervisor", kind: "supervisor", phase: undefined, strategy: "one-for-one" }),
  children,
});

const tree = supervisor("root", [
  actor("root/journal", { handled: 120, phase: "open" }),
  supervisor("root/containers", [
    actor("root/containers/default/web", {
      mailboxDepth: 2,
      restarts: 1,
      lastCrash: { at: 0, message: "boom\u001b" },
    }),
    actor("root/containers/default/db", { status: "restarting" }),
  ]),
]);

describe("the supervision tree", () => {
  it("is drawn with branches, states, mailboxes, restarts and crashes", () => {
    // As it arrives: through JSON, from a daemon whose kernel has this very type.
    const received = JSON.parse(JSON.stringify(tree)) as TreeNode;
    expect(renderTree(received).split("\n")).toEqual([
      "root               one-for-one",
      "├─ journal         open                mailbox 0/1024  handled 120",
      "└─ containers      one-for-one",
      "   ├─ default/web  running             mailbox 2/1024  handled 3    restarts 1  last crash 1970-01-01T00:00:00.000Z: boom\\x1b",
      "   └─ default/db   restarting running  mailbox 0/1024  handled 3",
    ]);
  });

  it("stops at a depth and says how much lies below", () => {
    expect(renderTree(tree as TreeNode, 1).split("\n")).toEqual([
      "root                one-for-one",
      "├─ journal          open         mailbox 0/1024  handled 120",
      "└─ containers (+2)  one-for-one",
    ]);
  });
});

/**
 * Draws a supervision tree. The shape repeats the part of the kernel's TreeNode that is shown: this room may
 * not import the daemon's, and a client must cope with a daemon of another version anyway.
 */
import { printable } from "./table.js";

export interface TreeNode {
  readonly path: string;
  readonly type: "actor" | "supervisor";
  readonly kind: string;
  readonly status: string;
  readonly phase?: string | undefined;
  readonly strategy?: string | undefined;
  readonly restart?: string;
  readonly mailboxDepth?: number;
  readonly mailboxLimit?: number | undefined;
  readonly current?: string | undefined;
  readonly handled?: number;
  readonly restarts?: number;
  readonly lastCrash?: { readonly at: number; readonly message: string } | undefined;
  readonly children?: readonly TreeNode[];
}

interface Line {
  readonly tree: string;
  readonly node: TreeNode;
}

const nameOf = (node: TreeNode, parentPath: string | undefined): string =>
  parentPath !== undefined && node.path.startsWith(`${parentPath}/`)
    ? node.path.slice(parentPath.length + 1)
    : node.path;

function linesOf(node: TreeNode, depth: number): Line[] {
  const lines: Line[] = [];
  const visit = (
    at: TreeNode,
    parent: string | undefined,
    lead: string,
    branch: string,
    level: number,
  ): void => {
    const children = at.children ?? [];
    const hidden = level >= depth && children.length > 0 ? ` (+${children.length})` : "";
    lines.push({ tree: `${lead}${branch}${nameOf(at, parent)}${hidden}`, node: at });
    if (level >= depth) return;
    const below = branch === "" ? "" : `${lead}${branch.startsWith("└") ? "   " : "│  "}`;
    children.forEach((child, index) => {
      visit(child, at.path, below, index === children.length - 1 ? "└─ " : "├─ ", level + 1);
    });
  };
  visit(node, undefined, "", "", 0);
  return lines;
}

function stateOf(node: TreeNode): string {
  const word = node.type === "supervisor" ? (node.strategy ?? "") : (node.phase ?? "");
  return node.status === "running" ? word : [node.status, word].filter((part) => part !== "").join(" ");
}

/** The tree as aligned text, `depth` levels deep (all by default); crashes are told below the line they belong to. */
export function renderTree(root: TreeNode, depth: number = Number.POSITIVE_INFINITY): string {
  const lines = linesOf(root, Number.isNaN(depth) ? Number.POSITIVE_INFINITY : depth);
  const cells = lines.map(({ tree, node }) => [
    printable(tree),
    printable(stateOf(node)),
    node.type === "supervisor"
      ? ""
      : `mailbox ${node.mailboxDepth ?? 0}${node.mailboxLimit == null ? "" : `/${node.mailboxLimit}`}`,
    node.type === "supervisor" ? "" : `handled ${node.handled ?? 0}`,
    (node.restarts ?? 0) > 0 ? `restarts ${node.restarts}` : "",
    node.lastCrash == null
      ? ""
      : `last crash ${new Date(node.lastCrash.at).toISOString()}: ${printable(node.lastCrash.message)}`,
  ]);
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...cells.map((row) => (row[column] ?? "").length)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .filter((_, column) => column >= widths.length || (widths[column] ?? 0) > 0)
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

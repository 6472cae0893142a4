/** `ctr version`, `plugins`, `namespaces` and `containers`: the commands that start nothing. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerSpec } from "../support/spec.js";
import { compareDaemons, type Scenario } from "./scenarios.js";
import type { Side } from "./side.js";

const createStored = (side: Side, id: string, ...more: string[]) =>
  side.ctr(["container", "create", ...more, "--rootfs", side.rootfs, id, "/bin/sleep", "5"]);

const scenarios: readonly Scenario[] = [
  {
    title: "ctr version names a version, a revision and a uuid of the server",
    proves: /Server:.*Version:.*Revision:.*UUID/,
    run: async (side) => {
      const result = await side.ctr(["version"], { silent: true });
      const server = result.stdout.slice(result.stdout.indexOf("Server:"));
      side.note("ctr version", {
        code: result.code,
        server: server.replace(/^( *\w+: +)\S+$/gm, "$1<value>"),
      });
    },
  },
  {
    title: "ctr plugins ls is a table of type, id, platforms and status that has the v2 runtime",
    proves: /io\.containerd\.runtime\.v2 task/,
    run: async (side) => {
      const result = await side.ctr(["plugins", "ls"], { silent: true });
      const rows = result.stdout.trim().split("\n");
      const runtime = rows.find((row) => row.startsWith("io.containerd.runtime.v2 "));
      side.note("ctr plugins ls", {
        code: result.code,
        header: rows[0]?.replace(/ +/g, " ").trim(),
        columns: [...new Set(rows.slice(1).map((row) => row.trim().split(/ +/).length))],
        runtime: runtime?.replace(/ +/g, " ").trim(),
      });
    },
  },
  {
    title: "ctr plugins ls with a filter that does not parse fails",
    proves: /"code":1/,
    run: async (side) => {
      await side.ctr(["plugins", "ls", "type=io"]);
    },
  },
  {
    title: "namespaces are created, listed, labelled and removed",
    proves: /a=b,c=d/,
    run: async (side) => {
      const name = side.namespace;
      const row = async (): Promise<void> => {
        const result = await side.ctr(["namespaces", "ls"], { silent: true });
        const lines = result.stdout.split("\n").map((line) => line.replace(/ +/g, " ").trim());
        side.note("row", [lines[0], lines.find((line) => line.startsWith(name))?.replace(name, "<name>")]);
      };
      await side.ctr(["namespaces", "create", name, "a=b"]);
      await row();
      await side.ctr(["namespaces", "create", name]);
      await side.ctr(["namespaces", "label", name, "c=d"]);
      await row();
      await side.ctr(["namespaces", "label", name, "a="]);
      await row();
      await side.ctr(["namespaces", "rm", name]);
      await row();
      await side.ctr(["namespaces", "rm", name]);
      await side.recordEvents();
    },
  },
  {
    title: "a namespace that still holds a container cannot be removed",
    proves: /must be empty, but it still has containers/,
    run: async (side) => {
      await createStored(side, "held");
      await side.ctr(["namespaces", "rm", side.namespace]);
      await side.ctr(["container", "rm", "held"]);
      await side.ctr(["namespaces", "rm", side.namespace]);
      await side.recordEvents();
    },
  },
  {
    title: "a namespace whose name breaks the rules is refused",
    proves: /must match/,
    run: async (side) => {
      for (const name of ["bad name", "-a", "a..b", "a/b", "x".repeat(77), ""]) {
        await side.ctr(["namespaces", "create", name]);
      }
    },
  },
  {
    title: "containers are created, listed, filtered, labelled and deleted",
    proves: /io\.containerd\.runc\.v2/,
    run: async (side) => {
      await createStored(side, "one", "--label", "tier=web");
      await createStored(side, "two", "--label", "tier=db", "--env", "A=b");
      await side.ctr(["containers", "ls"], { table: true });
      await side.ctr(["containers", "ls", "-q"]);
      await side.ctr(["containers", "ls", "-q", 'labels."tier"==db']);
      await side.ctr(["containers", "ls", "-q", "id==one"]);
      await side.ctr(["containers", "ls", "-q", "id~=^t"]);
      await side.ctr(["containers", "ls", "-q", "id==one,labels.tier==db"]);
      await side.ctr(["containers", "ls", "-q", "id==one", "labels.tier==db"]);
      // ctr prints its own map in random order.
      const labelled = await side.ctr(["containers", "label", "one", "tier=cache", "zone=a"], {
        silent: true,
      });
      side.note("label", [labelled.code, labelled.stdout.trim().split(",").sort(), labelled.stderr]);
      await side.ctr(["containers", "label", "one", "zone="]);
      await side.ctr(["containers", "info", "one"]);
      await side.ctr(["containers", "rm", "one"]);
      await side.ctr(["containers", "ls", "-q"]);
      await side.ctr(["containers", "rm", "two", "nosuch"]);
      await side.recordEvents();
    },
  },
  {
    title: "containers info shows the stored spec as it was sent",
    proves: /"com.example\/mark\\*": \\*"yes/,
    run: async (side) => {
      const config = join(side.directory, "config.json");
      const spec = containerSpec({
        rootfs: side.rootfs,
        args: ["/bin/true"],
        annotations: { "com.example/mark": "yes" },
      });
      writeFileSync(config, JSON.stringify(spec));
      await side.ctr(["containers", "create", "--config", config, "described"]);
      await side.ctr(["containers", "info", "described"]);
      await side.ctr(["containers", "info", "--spec", "described"]);
    },
  },
  {
    title: "a container id that is taken or breaks the rules is refused",
    proves: /already exists/,
    run: async (side) => {
      await createStored(side, "taken");
      await createStored(side, "taken");
      for (const id of ["bad id", "a_", "a..b", "a/b", "x".repeat(77)]) await createStored(side, id);
      await side.ctr(["containers", "ls", "-q"]);
    },
  },
  {
    title: "container commands on an unknown id fail as containerd's do",
    proves: /not found/,
    run: async (side) => {
      await side.ctr(["containers", "info", "nosuch"]);
      await side.ctr(["containers", "label", "nosuch", "a=b"]);
      await side.ctr(["containers", "rm", "nosuch"]);
      await side.ctr(["containers", "ls", "id=="]);
      await side.ctr(["containers", "ls", "labels.a===b"]);
    },
  },
  {
    title: "a label of 4096 bytes is stored and one of 4097 is refused",
    proves: /maximum size/,
    run: async (side) => {
      await createStored(side, "fits", "--label", `k=${"v".repeat(4095)}`);
      await createStored(side, "over", "--label", `k=${"v".repeat(4096)}`);
      await side.ctr(["containers", "ls", "-q"]);
    },
  },
];

compareDaemons("ctr on metadata", scenarios);

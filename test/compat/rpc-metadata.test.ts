/** Containers, Namespaces, Leases, Events, Introspection and the transport by the raw client. */
import { runcRuntime } from "../support/tasks.js";
import { compareDaemons, type Scenario } from "./scenarios.js";
import type { Side, Step } from "./side.js";

const spec = { typeUrl: "example.com/anything", value: Buffer.from([0, 1, 2, 255]) };

const stored = (id: string, labels: Readonly<Record<string, string>> = {}) => ({
  container: { id, labels, spec, runtime: { name: runcRuntime } },
});

const identifiers = ["", "a b", "-a", "a-", "a..b", "a/b", "é", "x".repeat(76), "x".repeat(77), "A.b_c-1"];
const badFilters = [
  "id==",
  "id===a",
  "id=a",
  "==a",
  "id==/a/",
  "id!=|a|",
  'id=="unclosed',
  "id,",
  ",id",
  "labels.",
  "id~=a b",
  "id==a,,id==b",
  "id~=/a/",
  "id==a=b",
  "a b",
];
const goodFilters = [
  "",
  "id",
  "id==one",
  "id!=one",
  "id~=^o",
  "id~=[",
  "labels.tier",
  "labels.tier==web",
  'labels."tier"==web',
  "labels.none",
  "labels.none!=x",
  "labels.a.b==c",
  'labels."a.b"==c',
  `runtime.name==${runcRuntime}`,
  "image",
  "nosuchfield",
  "nosuchfield!=x",
  'id=="\\x6fne"',
  "id~=|^one$|",
];

async function threeContainers(side: Side): Promise<void> {
  const { containers } = side.clients;
  await containers.create(stored("one", { tier: "web", empty: "" }), side.call);
  await containers.create(stored("two", { tier: "db" }), side.call);
  await containers.create(stored("three", { "a.b": "c" }), side.call);
}

const ids = (answer: { readonly containers: readonly { readonly id: string }[] }) =>
  answer.containers.map((container) => container.id);

/** Replaces what containerd showed for the named steps. */
const showing =
  (changes: Readonly<Record<string, unknown>>) =>
  (reference: Step[]): Step[] =>
    reference.map((step) => (step.did in changes ? { ...step, saw: changes[step.did] } : step));

const namespaceAnswer = (name: string, labels: Readonly<Record<string, string>>) => ({
  answer: { namespace: { name, labels } },
});

const scenarios: readonly Scenario[] = [
  {
    title: "a container comes back as it was stored, with times of the server",
    proves: /example\.com\/anything/,
    run: async (side) => {
      const { containers } = side.clients;
      const container = {
        ...stored("full", { a: "b", empty: "" }).container,
        image: "some/image:1",
        snapshotter: "overlayfs",
        snapshotKey: "key",
        extensions: { ext: { typeUrl: "x/y", value: Buffer.from([9]) } },
      };
      await side.rpc("create", containers.create({ container }, side.call));
      const answer = await side.rpc("get", containers.get({ id: "full" }, side.call));
      side.note("bytes of the spec", Buffer.from(answer?.container?.spec?.value ?? []).toString("hex"));
      await side.rpc("list", containers.list({}, side.call));
      await side.recordEvents();
    },
  },
  {
    title: "container ids are held to the identifier rules",
    proves: /must match/,
    run: async (side) => {
      for (const id of identifiers) {
        await side.rpc(`create ${id}`, side.clients.containers.create(stored(id), side.call));
      }
    },
  },
  {
    title: "an incomplete container is refused with the missing part",
    proves: /Runtime\.Name must be set/,
    run: async (side) => {
      const { containers } = side.clients;
      const { runtime } = stored("x").container;
      await side.rpc("nothing", containers.create({}, side.call));
      await side.rpc("no runtime", containers.create({ container: { id: "a", spec } }, side.call));
      await side.rpc("no spec", containers.create({ container: { id: "a", runtime } }, side.call));
      await side.rpc(
        "snapshot key alone",
        containers.create({ container: { id: "a", runtime, spec, snapshotKey: "k" } }, side.call),
      );
      await side.rpc(
        "extension without a name",
        containers.create({ container: { id: "a", runtime, spec, extensions: { "": spec } } }, side.call),
      );
    },
  },
  {
    title: "labels of 4096 bytes pass and longer ones are refused, on containers, namespaces and leases",
    proves: /maximum size/,
    intended: {
      reason:
        "containerd answers a namespace update with an empty message, and a label that is too long there with " +
        "code 2 where its other services say 3; berth answers with the namespace and with 3",
      change: (reference) =>
        showing({ "namespace 4095": namespaceAnswer("<namespace>", { k: "v".repeat(4095) }) })(reference).map(
          (step) =>
            step.did === "namespace 4096" ? { ...step, saw: { ...Object(step.saw), code: 3 } } : step,
        ),
    },
    run: async (side) => {
      const { containers, namespaces, leases } = side.clients;
      for (const length of [4095, 4096]) {
        const labels = { k: "v".repeat(length) };
        await side.rpc("container", containers.create(stored(`c${length}`, labels), side.call));
        const namespace = { name: side.namespace, labels };
        await side.rpc(`namespace ${length}`, namespaces.update({ namespace }, side.call));
        const lease = { id: `l${length}`, labels };
        await side.rpc("lease", leases.create(lease, side.call));
        await leases.delete({ id: lease.id }, side.call).catch(() => {});
      }
      const labels = { "a-rather-long-label-key": "v".repeat(4096) };
      await side.rpc("long key", containers.create(stored("long", labels), side.call));
    },
  },
  {
    title: "an update changes what its mask names",
    proves: /"z":"1"/,
    run: async (side) => {
      const { containers } = side.clients;
      await side.rpc("create", containers.create(stored("up", { a: "1", b: "2" }), side.call));
      const update = (did: string, container: object, paths: readonly string[]) =>
        side.rpc(
          did,
          containers.update({ container: { id: "up", ...container }, updateMask: paths }, side.call),
        );
      await update("one label", { labels: { a: "9" } }, ["labels.a"]);
      await update("label removed", { labels: {} }, ["labels.b"]);
      await update("all labels", { labels: { z: "1" } }, ["labels"]);
      await update("image", { image: "i" }, ["image"]);
      await update("runtime", { runtime: { name: "x.y.z" } }, ["runtime"]);
      await update("nonsense", {}, ["nonsense"]);
      await side.rpc("without mask", containers.update(stored("up", { all: "new" }), side.call));
      const other = { container: { ...stored("up").container, runtime: { name: "io.other.v1" } } };
      await side.rpc("another runtime", containers.update(other, side.call));
      await side.rpc("unknown", containers.update(stored("nosuch"), side.call));
      await side.rpc("no id", containers.update({}, side.call));
      await side.recordEvents();
    },
  },
  {
    title: "get, delete and duplicates answer with containerd's words",
    proves: /already exists/,
    run: async (side) => {
      const { containers } = side.clients;
      await side.rpc("get", containers.get({ id: "nosuch" }, side.call));
      await side.rpc("get of nothing", containers.get({}, side.call));
      await side.rpc("delete", containers.delete({ id: "nosuch" }, side.call));
      await side.rpc("delete of nothing", containers.delete({}, side.call));
      await side.rpc("create", containers.create(stored("dup"), side.call));
      await side.rpc("create again", containers.create(stored("dup"), side.call));
      await side.rpc("delete", containers.delete({ id: "dup" }, side.call));
      await side.rpc("get", containers.get({ id: "dup" }, side.call));
      // Other words than in a namespace that never had a container.
      await side.rpc("delete again", containers.delete({ id: "dup" }, side.call));
    },
  },
  ...goodFilters.map(
    (filter): Scenario => ({
      title: `the filter ${JSON.stringify(filter)} selects the same containers`,
      proves: /"ids":\[/,
      run: async (side) => {
        await threeContainers(side);
        const answer = await side.clients.containers.list({ filters: [filter] }, side.call);
        side.note("list", { ids: ids(answer) });
      },
    }),
  ),
  {
    title: "several filters select what any of them selects",
    proves: /"ids":\["one","two"\]/,
    run: async (side) => {
      await threeContainers(side);
      const filters = ["id==one", "labels.tier==db"];
      side.note("or", { ids: ids(await side.clients.containers.list({ filters }, side.call)) });
      const both = ["labels.tier,id!=two", "nosuch"];
      side.note("and", { ids: ids(await side.clients.containers.list({ filters: both }, side.call)) });
    },
  },
  {
    title: "filters that do not parse are refused with the place, by every service that takes them",
    proves: /filters: parse error/,
    run: async (side) => {
      const { containers, leases, introspection, tasks } = side.clients;
      for (const filter of badFilters) {
        await side.rpc(`containers ${filter}`, containers.list({ filters: [filter] }, side.call));
        await side.rpc(`tasks ${filter}`, tasks.metrics({ filters: [filter] }, side.call));
      }
      await side.rpc("leases", leases.list({ filters: ["id=="] }, side.call));
      await side.rpc("plugins", introspection.plugins({ filters: ["id=a"] }, side.call));
    },
  },
  {
    title: "calls without a namespace, or with a bad one, are refused",
    proves: /namespace is required/,
    run: async (side) => {
      const { containers, tasks, leases, events } = side.clients;
      for (const namespace of [undefined, "", "bad ns", "a/b", "x".repeat(77)]) {
        const call = namespace === undefined ? {} : { namespace };
        await side.rpc("containers list", containers.list({}, call));
        await side.rpc("containers get", containers.get({ id: "a" }, call));
        await side.rpc("containers create", containers.create(stored("a"), call));
        await side.rpc("tasks get", tasks.get({ containerId: "a" }, call));
        await side.rpc("tasks list", tasks.list({}, call));
        await side.rpc("tasks create", tasks.create({ containerId: "a" }, call));
        await side.rpc("leases list", leases.list({}, call));
        const event = { typeUrl: "containerd.events.TaskPaused", value: Buffer.alloc(0) };
        await side.rpc("publish", events.publish({ topic: "/a/b", event }, call));
      }
    },
  },
  {
    title: "namespaces follow their rules",
    proves: /never-made/,
    intended: {
      reason: "containerd answers an update with an empty message; berth with the namespace as it now is",
      change: showing({
        "update labels.c": namespaceAnswer("<namespace>-ns", { a: "b", c: "d" }),
        "update labels.a": namespaceAnswer("<namespace>-ns", { c: "d" }),
        replace: namespaceAnswer("<namespace>-ns", { n: "1" }),
      }),
    },
    run: async (side) => {
      const { namespaces } = side.clients;
      const name = `${side.namespace}-ns`;
      const call = side.call;
      await side.rpc("get of one that nobody made", namespaces.get({ name: "never-made" }, call));
      await side.rpc("create", namespaces.create({ namespace: { name, labels: { a: "b", e: "" } } }, call));
      await side.rpc("create again", namespaces.create({ namespace: { name } }, call));
      await side.rpc("get", namespaces.get({ name }, call));
      const update = (labels: Readonly<Record<string, string>>, paths: readonly string[]) =>
        side.rpc(
          `update ${paths}`,
          namespaces.update({ namespace: { name, labels }, updateMask: paths }, call),
        );
      await update({ c: "d" }, ["labels.c"]);
      await update({}, ["labels.a"]);
      await update({ c: "d" }, ["bogus"]);
      await side.rpc("replace", namespaces.update({ namespace: { name, labels: { n: "1" } } }, call));
      await side.rpc("get", namespaces.get({ name }, call));
      for (const bad of identifiers.filter((id) => !/^[xA]/.test(id))) {
        await side.rpc(`create ${bad}`, namespaces.create({ namespace: { name: bad } }, call));
      }
      await side.rpc("delete", namespaces.delete({ name }, call));
      await side.rpc("delete again", namespaces.delete({ name }, call));
    },
  },
  {
    title: "leases are created, listed, given resources and deleted",
    proves: /lease \\"nosuch\\": not found/,
    run: async (side) => {
      const { leases } = side.clients;
      const call = side.call;
      await side.rpc("create", leases.create({ id: "l1", labels: { a: "b" } }, call));
      await side.rpc("create again", leases.create({ id: "l1" }, call));
      await side.rpc("odd id", leases.create({ id: "a/b c" }, call));
      const made = await leases.create({}, call);
      side.note("made-up id", /^\d+-[\w-]{4}$/.test(made.lease?.id ?? ""));
      await leases.delete({ id: made.lease?.id ?? "" }, call);
      await side.rpc("list", leases.list({}, call));
      await side.rpc("filtered", leases.list({ filters: ["id==l1"] }, call));
      await side.rpc("labelled", leases.list({ filters: ["labels.a==b"] }, call));
      const add = (id: string, type: string, lease = "l1") =>
        side.rpc(`add ${type}`, leases.addResource({ id: lease, resource: { id, type } }, call));
      await add("key", "snapshots/overlayfs");
      await add("ref", "ingests");
      await add("nodigest", "content");
      await add("x", "snapshots");
      await add("x", "bogus");
      await add("x", "ingests", "nosuch");
      await side.rpc("resources", leases.listResources({ id: "l1" }, call));
      const resource = { id: "ref", type: "ingests" };
      await side.rpc("remove", leases.deleteResource({ id: "l1", resource }, call));
      await side.rpc("remove again", leases.deleteResource({ id: "l1", resource }, call));
      await side.rpc("resources", leases.listResources({ id: "l1" }, call));
      await side.rpc("delete", leases.delete({ id: "l1" }, call));
      await side.rpc("delete", leases.delete({ id: "a/b c" }, call));
      await side.rpc("delete unknown", leases.delete({ id: "nosuch" }, call));
    },
  },
  {
    title: "published and forwarded events reach subscribers; broken ones are refused",
    proves: /must start with '\//,
    run: async (side) => {
      const { events } = side.clients;
      const event = { typeUrl: "containerd.events.TaskPaused", value: Buffer.from([10, 1, 120]) };
      await side.rpc("publish", events.publish({ topic: "/tasks/paused", event }, side.call));
      for (const topic of ["", "foo", "/", "/f o", "//a", "/a/"]) {
        await side.rpc(`publish ${topic}`, events.publish({ topic, event }, side.call));
      }
      const timestamp = { seconds: 1n, nanos: 5 };
      const envelope = { namespace: side.namespace, topic: "/tasks/paused", event, timestamp };
      await side.rpc("forward", events.forward({ envelope }));
      const untimed = { namespace: side.namespace, topic: "/tasks/paused", event };
      await side.rpc("forward without time", events.forward({ envelope: untimed }));
      await side.rpc(
        "forward without namespace",
        events.forward({ envelope: { ...envelope, namespace: "" } }),
      );
      await side.rpc("forward with a bad topic", events.forward({ envelope: { ...envelope, topic: "x" } }));
      await side.recordEvents();
    },
  },
  {
    title: "health knows the empty service name only",
    proves: /unknown service/,
    run: async (side) => {
      await side.rpc("all", side.clients.health({}));
      await side.rpc("one", side.clients.health({ service: "containerd.services.tasks.v1.Tasks" }));
    },
  },
  {
    title: "a message above 16 MiB is refused by size and the daemon lives on",
    proves: /"code":8/,
    run: async (side) => {
      const huge = { ...spec, value: Buffer.alloc(17 << 20) };
      const container = { ...stored("huge").container, spec: huge };
      const error = await side.clients.containers
        .create({ container }, side.call)
        .then(() => undefined)
        .catch((thrown: { statusCode?: number }) => thrown.statusCode);
      // The text is the transport library's own, with different words in each.
      side.note("create", { code: error });
      await side.rpc("health", side.clients.health({}));
      await side.rpc("list", side.clients.containers.list({}, side.call));
    },
  },
  {
    title: "a container with a spec of some megabytes is stored whole",
    proves: /"bytes":6291456/,
    run: async (side) => {
      const large = { ...spec, value: Buffer.alloc(6 << 20, "s") };
      const container = { ...stored("large").container, spec: large };
      await side.clients.containers.create({ container }, side.call);
      const answer = await side.clients.containers.get({ id: "large" }, side.call);
      side.note("get", { bytes: answer.container?.spec?.value.length });
    },
  },
  {
    title: "services that are not there answer unimplemented",
    proves: /"code":12/,
    run: async (side) => {
      for (const path of [
        "/containerd.services.nosuch.v1.Nosuch/Get",
        "/containerd.services.tasks.v1.Tasks/Nosuch",
      ]) {
        const code = await new Promise<number | undefined>((resolve) => {
          side.clients.client.makeUnaryRequest(
            path,
            (value: Buffer) => value,
            (value: Buffer) => value,
            Buffer.alloc(0),
            { deadline: Date.now() + 10_000 },
            (error) => resolve(error?.code),
          );
        });
        side.note(path, { code });
      }
    },
  },
];

compareDaemons("metadata calls", scenarios);

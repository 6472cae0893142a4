/**
 * The supervision tree of berthd. Order is dependency: what stands later uses what stands earlier, and a part
 * that gives up takes down what was built on it.
 */
import { createAdmissionBehavior } from "../actors/admission/admission-actor.js";
import type { AdmissionMessage, Permit } from "../actors/admission/messages.js";
import type { ContainerDependencies, ContainerTimeouts } from "../actors/container/dependencies.js";
import { createContainerDirectory, type RunningDirectory } from "../actors/containers/container-directory.js";
import { createJournalBehavior } from "../actors/journal/journal-actor.js";
import type { JournalMessage } from "../actors/journal/messages.js";
import type {
  ActorRef,
  ActorSystem,
  Behavior,
  ChildSpec,
  SupervisorRef,
  SupervisorSpec,
} from "../actors/kernel/types.js";
import type { MetadataMessage } from "../actors/metadata/messages.js";
import { createMetadataBehavior } from "../actors/metadata/metadata-actor.js";
import { createShimsGateway } from "../actors/shims/gateway.js";
import type { PlacementMessage, ShimMessage } from "../actors/shims/messages.js";
import { createPlacementBehavior } from "../actors/shims/placement-actor.js";
import { createShimBehavior } from "../actors/shims/shim-actor.js";
import type { Clock } from "../core/clock.js";
import { unavailable } from "../core/errors.js";
import type { Namespace } from "../core/ids.js";
import type { BundlePort } from "../ports/bundle-port.js";
import type { EventCodec } from "../ports/event-codec-port.js";
import type { ShimConnection, ShimLauncher } from "../ports/shim-launcher-port.js";
import type { StorePort } from "../ports/store-port.js";
import { createServerBehavior, type ServerActorOptions } from "./server-actor.js";

export interface TreePorts {
  readonly clock: Clock;
  readonly store: StorePort;
  readonly codec: EventCodec;
  readonly bundles: BundlePort;
  readonly launcher: ShimLauncher;
}

export interface TreeSettings {
  readonly shimCapacity: number;
  readonly shimGrouping: "packed" | "sandbox" | "container";
  readonly shimIdleMs: number;
  readonly shimOpenTimeoutMs: number;
  readonly shimShutdownTimeoutMs: number;
  readonly runtimeSlots: number;
  readonly journalEntries: number;
  readonly timeouts: ContainerTimeouts;
}

/** Ways to the actors of a running tree. Each looks its actor up anew, so a restart in between does no harm. */
export interface TreeAccess {
  readonly journal: ActorRef<JournalMessage>;
  readonly metadata: ActorRef<MetadataMessage>;
  readonly placement: ActorRef<PlacementMessage>;
  readonly directory: RunningDirectory;
  /** Which shim has which task, by `<namespace>/<id>`. */
  readonly hosts: ReadonlyMap<string, ShimConnection>;
  /** Starts the API's servers, as the last part of the tree. */
  startServers(servers: readonly ServerActorOptions[]): void;
}

const paths = {
  metadata: "root/store/metadata",
  journal: "root/journal/journal",
  admission: "root/admission/gate",
  placement: "root/shims/placement",
} as const;

/** Restarts allowed: enough for a bad minute, few enough that a bug in start-up shows within seconds. */
const intensity = 5;
const periodMs = 30_000;
/** Budgets for the stop, innermost first; systemd allows 90 s for the whole. Milliseconds. */
const actorShutdownMs = 2000;
const supervisorShutdownMs = 10_000;

const largeMailbox = 65_536;
const containerMailbox = 1024;
const pingIntervalMs = 5000;
const pingTimeoutMs = 5000;
/** Far beyond every runtime deadline: only a lost permit is held this long. */
const permitHoldMs = 600_000;

// biome-ignore lint/suspicious/noExplicitAny: children of every state and message type stand side by side
const permanent = (id: string, behavior: Behavior<any, any>, mailboxLimit = largeMailbox): ChildSpec => ({
  id,
  start: { type: "actor", behavior, mailboxLimit },
  restart: "permanent",
  shutdownMs: actorShutdownMs,
});

const supervisor = (
  id: string,
  children: readonly ChildSpec[],
  strategy: SupervisorSpec["strategy"] = "one-for-one",
): ChildSpec => ({
  id,
  start: { type: "supervisor", strategy, intensity, periodMs, children },
  restart: "permanent",
  shutdownMs: supervisorShutdownMs,
});

export function startTree(system: ActorSystem, ports: TreePorts, settings: TreeSettings): TreeAccess {
  const { launcher } = ports;
  const hosts = new Map<string, ShimConnection>();

  const find = <M>(path: string): ActorRef<M> => {
    const ref = system.lookup<M>(path);
    if (ref === undefined) throw unavailable(`${path} is not running`);
    return ref;
  };
  /** A ref that survives its actor's supervisor being replaced. */
  const standing = <M>(path: string): ActorRef<M> => ({
    path,
    tell: (message, from) => system.lookup<M>(path)?.tell(message, from),
    ask: async (build, options) => find<M>(path).ask(build, options),
  });
  const journal = standing<JournalMessage>(paths.journal);
  const metadata = standing<MetadataMessage>(paths.metadata);
  const admission = standing<AdmissionMessage>(paths.admission);
  const placement = standing<PlacementMessage>(paths.placement);
  let root: SupervisorRef | undefined;
  const branch = (...ids: readonly string[]): SupervisorRef => {
    let at = root;
    for (const id of ids) at = at?.child(id) as SupervisorRef | undefined;
    if (at === undefined) throw unavailable(`${ids.join("/")} is not running`);
    return at;
  };

  const shims = createShimsGateway({
    placement: () => placement,
    hosts,
    launcher,
    placeTimeoutMs: settings.shimOpenTimeoutMs * 2,
  });
  const dependencies: ContainerDependencies = {
    store: ports.store,
    codec: ports.codec,
    bundles: ports.bundles,
    shims,
    admit: (namespace: Namespace, signal) =>
      admission.ask<Permit>((reply) => ({ kind: "acquire", namespace, reply }), {
        timeoutMs: permitHoldMs,
        signal,
      }),
    journal: () => journal,
    timeouts: settings.timeouts,
  };
  const directory = createContainerDirectory({
    clock: ports.clock,
    supervisor: () => branch("containers"),
    dependencies,
    journal: () => journal,
    hostedKeys: () => hosts.keys(),
    mailboxLimit: containerMailbox,
    intensity,
    periodMs,
  });
  const startShim = (request: Parameters<typeof createShimBehavior>[0]): ActorRef<ShimMessage> =>
    branch("shims", "pool").startActor<ShimMessage>({
      id: request.shimId,
      start: {
        type: "actor",
        behavior: createShimBehavior(request, {
          launcher,
          placement: () => placement,
          openTimeoutMs: settings.shimOpenTimeoutMs,
          pingIntervalMs,
          pingTimeoutMs,
          shutdownTimeoutMs: settings.shimShutdownTimeoutMs,
        }),
      },
      restart: "transient",
      shutdownMs: actorShutdownMs,
    });

  root = system.start({
    type: "supervisor",
    strategy: "rest-for-one",
    intensity,
    periodMs,
    children: [
      supervisor("store", [
        permanent(
          "metadata",
          createMetadataBehavior({ store: ports.store, codec: ports.codec, journal: () => journal }),
        ),
      ]),
      supervisor("journal", [
        permanent("journal", createJournalBehavior({ keepEntries: settings.journalEntries })),
      ]),
      supervisor("admission", [
        permanent("gate", createAdmissionBehavior({ slots: settings.runtimeSlots, maxHoldMs: permitHoldMs })),
      ]),
      supervisor(
        "shims",
        [
          // The pool stands first, so that the placement can start shims in it from its own first moment.
          supervisor("pool", []),
          permanent(
            "placement",
            createPlacementBehavior({
              launcher,
              startShim,
              capacity: settings.shimCapacity,
              grouping: settings.shimGrouping,
              idleMs: settings.shimIdleMs,
              hosts,
              wake: (key) => directory.wake(key),
            }),
          ),
        ],
        "one-for-all",
      ),
      supervisor("containers", []),
    ],
  });
  const started = root;

  return {
    journal,
    metadata,
    placement,
    directory,
    hosts,
    startServers(servers) {
      started.startSupervisor({
        id: "api",
        start: {
          type: "supervisor",
          strategy: "one-for-one",
          intensity,
          periodMs,
          children: servers.map((server) => permanent(server.name, createServerBehavior(server))),
        },
        restart: "permanent",
        shutdownMs: supervisorShutdownMs,
      });
    },
  };
}

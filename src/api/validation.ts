/** What a request must satisfy before it becomes a message, in the words that containerd's clients know. */
import { invalidArgument, notFound } from "../core/errors.js";
import { type Instant, isZeroInstant } from "../core/exit.js";
import { type ContainerId, identifierProblem, type Namespace, type TaskKey } from "../core/ids.js";
import type { Envelope } from "../ports/event-sink.js";
import type { ContainerRecord } from "../ports/store-port.js";
import { goQuote } from "./go-quote.js";

export type Labels = Readonly<Record<string, string>>;

const maxLabelBytes = 4096;
const shownKeyLength = 10;
/**
 * Names a task. An id that no container can have is answered as an unknown one, as containerd does: it looks the
 * container up before it looks at anything else.
 */
export function taskKey(namespace: Namespace, id: string): TaskKey {
  if (identifierProblem(id) !== undefined) {
    throw notFound(`container ${goQuote(id)} in namespace ${goQuote(namespace)}`);
  }
  return { namespace, id: id as ContainerId };
}

/** What is wrong with one of the labels, or undefined: key and value have 4096 bytes together. */
export function labelProblem(labels: Labels): string | undefined {
  for (const [key, value] of Object.entries(labels)) {
    if (Buffer.byteLength(key) + Buffer.byteLength(value) <= maxLabelBytes) continue;
    const limit = `label key and value greater than maximum size (${maxLabelBytes} bytes)`;
    return `${limit}, key: ${key.slice(0, shownKeyLength)}`;
  }
  return undefined;
}

/** Labels as they are stored: one without a value does not exist. */
export const withoutEmpty = (labels: Labels): Labels =>
  Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ""));

/** A container as a client sent it: its spec may be missing. */
export type ContainerDraft = Omit<ContainerRecord, "spec"> & {
  readonly spec: ContainerRecord["spec"] | undefined;
};

/** What is wrong with a container, or undefined. */
function containerProblem(container: ContainerDraft): string | undefined {
  const identifier = identifierProblem(container.id);
  if (identifier !== undefined) return `container.ID: ${identifier}`;
  if (Object.hasOwn(container.extensions, "")) return "container.Extension keys must not be zero-length";
  const label = labelProblem(container.labels);
  if (label !== undefined) return `containers.Labels: ${label}`;
  if (container.runtime.name === "") return "container.Runtime.Name must be set";
  if (container.spec === undefined) return "container.Spec must be set";
  if (container.snapshotKey !== "" && container.snapshotter === "") {
    return "container.Snapshotter must be set if container.SnapshotKey is set";
  }
  return undefined;
}

/** The container with its spec proven present. Throws invalid-argument, its text opened by `context`. */
export function checkContainer(container: ContainerDraft, context: string): ContainerRecord {
  const problem = containerProblem(container);
  const { spec } = container;
  if (problem === undefined && spec !== undefined) return { ...container, spec };
  throw invalidArgument(`${context}: ${problem}`);
}

/** Throws invalid-argument for a topic that is not `/` and identifiers. */
export function checkTopic(topic: string): void {
  const refuse = (problem: string): never => {
    throw invalidArgument(`envelope topic ${goQuote(topic)}: ${problem}`);
  };
  if (topic === "") refuse("must not be empty");
  if (!topic.startsWith("/")) refuse("must start with '/'");
  if (topic === "/") refuse("must have at least one component");
  for (const component of topic.slice(1).split("/")) {
    const problem = identifierProblem(component);
    if (problem !== undefined) refuse(`failed validation on component ${goQuote(component)}: ${problem}`);
  }
}

/** An envelope as it arrives: any part may be missing. */
export interface EnvelopeDraft {
  readonly timestamp: Instant | undefined;
  readonly namespace: string;
  readonly topic: string;
  readonly event: Envelope["event"] | undefined;
}

/** A forwarded envelope, proven whole. Throws invalid-argument. */
export function checkEnvelope(draft: EnvelopeDraft | undefined): Envelope {
  if (draft === undefined) throw invalidArgument("envelope must be set");
  const { namespace, topic, timestamp, event } = draft;
  const problem = identifierProblem(namespace);
  if (problem !== undefined) throw invalidArgument(`event envelope has invalid namespace: ${problem}`);
  checkTopic(topic);
  if (timestamp === undefined || isZeroInstant(timestamp)) {
    throw invalidArgument("timestamp must be set on forwarded event");
  }
  if (event === undefined) throw invalidArgument("event must be set on forwarded envelope");
  return { timestamp, namespace, topic, event };
}

const digestSizes: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };
const digestPattern = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;

/** What is wrong with `text` as a content digest, or undefined. */
export function digestProblem(text: string): string | undefined {
  const colon = text.indexOf(":");
  if (colon <= 0 || colon + 1 === text.length) return "invalid checksum digest format";
  const algorithm = text.slice(0, colon);
  const size = Object.hasOwn(digestSizes, algorithm) ? digestSizes[algorithm] : undefined;
  if (size === undefined) {
    return digestPattern.test(text) ? "unsupported digest algorithm" : "invalid checksum digest format";
  }
  const encoded = text.slice(colon + 1);
  if (encoded.length !== size) return "invalid checksum digest length";
  return /^[a-f0-9]+$/.test(encoded) ? undefined : "invalid checksum digest format";
}

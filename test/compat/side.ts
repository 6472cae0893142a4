/**
 * One scenario on one daemon: what is typed or called, and a transcript of all that a client can see. The
 * transcripts of berthd and containerd are then compared.
 */
import { type CallOptions, RpcError } from "../support/clients.js";
import { type CtrResult, type CtrTtyOptions, runCtr, runCtrOnTty } from "../support/ctr.js";
import type { Daemon } from "../support/daemon.js";
import type { EventStream, ReceivedEvent } from "../support/event-stream.js";
import { normaliseMessage, normaliseText, type TextRules } from "../support/normalise.js";
import { createContainer, createTask, endTask, type Task, type TaskOptions } from "../support/tasks.js";
import { until } from "../support/until.js";

export interface Step {
  readonly did: string;
  readonly saw: unknown;
}

interface CtrStepOptions extends TextRules {
  readonly input?: string;
  readonly namespace?: string;
  /** Runs the command but keeps it out of the transcript. */
  readonly silent?: boolean;
}

interface TtyStepOptions extends TextRules {
  readonly type?: NonNullable<CtrTtyOptions["type"]>;
  readonly rows?: number;
  readonly columns?: number;
}

export class Side {
  readonly daemon: Daemon;
  readonly namespace: string;
  /** For files of the scenario; the FIFOs of ctr go there too. */
  readonly directory: string;
  readonly transcript: Step[] = [];
  readonly #events: EventStream;
  readonly #fifos: string;
  /** How many events each `recordEvents` found, for the other side to wait for. */
  readonly eventCounts: number[] = [];
  readonly #eventCounts: number[] | undefined;

  constructor(daemon: Daemon, namespace: string, events: EventStream, eventCounts?: readonly number[]) {
    this.#eventCounts = eventCounts === undefined ? undefined : [...eventCounts];
    this.daemon = daemon;
    this.namespace = namespace;
    this.directory = daemon.workspace.newDirectory("w");
    this.#fifos = daemon.workspace.newDirectory("f");
    this.#events = events;
  }

  get rootfs(): string {
    return this.daemon.workspace.rootfs;
  }

  #normal(text: string, rules: TextRules = {}): string {
    return normaliseText(text.replaceAll(this.directory, "<directory>"), this, rules);
  }

  note(did: string, saw: unknown): void {
    this.transcript.push({ did, saw });
  }

  /** `ctr <args>`; adds --fifo-dir where the command takes one, so that nothing lands in /run. */
  async ctr(args: readonly string[], options: CtrStepOptions = {}): Promise<CtrResult> {
    const result = await runCtr(this.daemon, this.#withFifoDirectory(args), {
      namespace: options.namespace ?? this.namespace,
      ...(options.input === undefined ? {} : { input: options.input }),
    });
    if (options.silent !== true) this.#record(`ctr ${args.join(" ")}`, result, options);
    return result;
  }

  async ctrOnTty(args: readonly string[], options: TtyStepOptions = {}): Promise<CtrResult> {
    const result = await runCtrOnTty(this.daemon, this.#withFifoDirectory(args), {
      namespace: this.namespace,
      ...options,
    });
    // ctr's switch to raw mode races with the first output: the outer terminal may add a second return.
    // Cursor movements of a shell's line editor depend on how fast it is typed to.
    const escapes = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*[A-Za-z]`, "g");
    // The first resize may come before or after the shell's first prompt; after it, the shell prints it again.
    const stdout = result.stdout
      .replace(/\r+\n/g, "\n")
      .replace(escapes, "")
      .replace(/(?:\/ # \r*)+(?=\/ # )/g, "");
    this.#record(`ctr ${args.join(" ")} (terminal)`, { ...result, stdout }, options);
    return result;
  }

  #withFifoDirectory(args: readonly string[]): string[] {
    const verb = args[0] === "run" ? 0 : args.findIndex((word) => word === "exec" || word === "start");
    if (verb < 0 || verb > 1) return [...args];
    return [...args.slice(0, verb + 1), "--fifo-dir", this.#fifos, ...args.slice(verb + 1)];
  }

  #record(did: string, result: CtrResult, rules: TextRules): void {
    this.note(this.#normal(did), {
      code: result.code,
      stdout: this.#normal(result.stdout, rules),
      stderr: this.#normal(result.stderr, rules),
    });
  }

  /** Records the answer, or the status code and message of the failure. */
  async rpc<T>(did: string, call: Promise<T>): Promise<T | undefined> {
    try {
      const answer = await call;
      this.note(did, { answer: normaliseMessage(answer, this) });
      return answer;
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      this.note(did, { code: error.statusCode, message: this.#normal(error.details) });
      return undefined;
    }
  }

  get clients() {
    return this.daemon.clients;
  }

  /** Call options of this side's namespace. */
  get call(): CallOptions {
    return { namespace: this.namespace };
  }

  container(options: TaskOptions): Promise<void> {
    return createContainer(this.daemon, this.namespace, options);
  }

  /** A created task with collected output. */
  task(options: TaskOptions): Promise<Task> {
    return createTask(this.daemon, this.namespace, { fifos: this.#fifos, ...options });
  }

  /** A started task that sleeps. */
  async sleeper(id: string, more: Partial<TaskOptions> = {}): Promise<Task> {
    const task = await createTask(this.daemon, this.namespace, { id, args: ["/bin/sleep", "1000"], ...more });
    await task.start();
    return task;
  }

  /** Waits for the event; nothing is recorded. */
  async event(topic: string, matches: (event: ReceivedEvent) => boolean = () => true): Promise<void> {
    await this.#events.next(topic, (event) => event.topic === topic && this.#isOurs(event) && matches(event));
  }

  #isOurs(event: ReceivedEvent): boolean {
    return event.namespace === this.namespace || event.payload?.name === this.namespace;
  }

  /**
   * Records the events, tasks' and the rest apart: between the two only time decides the order. They travel
   * beside the answers, so the first daemon gets a quiet moment to deliver them all, and the second one as
   * long as it takes, within a deadline, to bring as many as the first.
   */
  async recordEvents(): Promise<void> {
    const count = (): number => this.#events.received.filter((event) => this.#isOurs(event)).length;
    const target = this.#eventCounts?.shift();
    let known = -1;
    let since = performance.now();
    await until("events to settle", () => {
      const now = performance.now();
      const present = count();
      if (present !== known) {
        known = present;
        since = now;
      }
      const quietMs = target === undefined ? 400 : present >= target ? 60 : 5_000;
      return now - since >= quietMs;
    });
    this.eventCounts.push(known);
    const ours = this.#events.received.filter((event) => this.#isOurs(event));
    const brief = (event: ReceivedEvent): unknown => ({
      topic: event.topic,
      typeUrl: event.typeUrl,
      payload: normaliseMessage(event.payload, this),
    });
    const ofTasks = (event: ReceivedEvent): boolean => event.topic.startsWith("/tasks/");
    this.note("events of tasks", ours.filter(ofTasks).map(brief));
    this.note("other events", ours.filter((event) => !ofTasks(event)).map(brief));
  }

  /** Removes every task and container of the namespace, whatever the scenario left. */
  async clean(): Promise<void> {
    const { containers } = this.clients;
    for (const container of (await containers.list({}, this.call)).containers) {
      await endTask(this.daemon, this.namespace, container.id);
      await containers.delete({ id: container.id }, this.call);
    }
    await until("the namespace to be empty", async () => {
      const left = await containers.list({}, this.call);
      return left.containers.length === 0;
    });
  }
}

import { describe, expect, it } from "vitest";
import { zeroInstant } from "../../../src/core/exit.js";
import type { ContainerRecord } from "../../../src/ports/store-port.js";
import {
  adaptContainer,
  adaptLease,
  adaptNamespace,
  adaptPlugin,
  adaptTask,
} from "../../../src/wire/filter/adaptors.js";
import { compileFilters } from "../../../src/wire/filter/filter.js";

const container = (
  id: string,
  runtime: string,
  image: string,
  labels: Record<string, string>,
): ContainerRecord => ({
  id,
  labels,
  image,
  runtime: { name: runtime, options: undefined },
  spec: { typeUrl: "x", value: new Uint8Array() },
  snapshotter: "",
  snapshotKey: "",
  createdAt: zeroInstant,
  updatedAt: zeroInstant,
  extensions: {},
  sandbox: "",
});
const runc = "io.containerd.runc.v2";
const containers = [
  container("c1", runc, "docker.io/library/busybox:latest", { a: "b", "a.b": "x y", é: "ü" }),
  container("c2", runc, "", { "com.x/y": "1,2", q: 'say "hi"', s: "a\nb" }),
  container("abc", "other.v1", "img", {}),
];
/** Ids that match, or the error text: what containerd 1.6.20 answered for the same three containers. */
function ask(...filters: string[]): string {
  try {
    const matches = compileFilters(filters);
    return containers
      .filter((candidate) => matches(adaptContainer(candidate)))
      .map(({ id }) => id)
      .join(" ");
  } catch (error) {
    return (error as Error).message;
  }
}

describe("filters match as containerd's do", () => {
  it.each([
    ["id==c1", "c1"],
    ["id", "c1 c2 abc"],
    ["image", "c1 abc"],
    ["labels.a", "c1"],
    ['labels.a.b=="x y"', "c1"],
    ['labels."a.b"~=^x', "c1"],
    ['labels."é"==ü', "c1"],
    ['labels."\\u00e9"==ü', "c1"],
    ["id== c1", "c1"],
    ["id ==c1", "c1"],
    ["id==c1,image", "c1"],
    ["id==c1,id==c2", ""],
    ["", "c1 c2 abc"],
    ["id~=/c/", "c1 c2 abc"],
    ["id~=|^c|", "c1 c2"],
    ["id~=^c[", ""],
    ["id~=(?i)^C", "c1 c2"],
    ["id~=\\d", "c1 c2"],
    ['id~="c\\\\d"', "c1 c2"],
    ["id!=c1", "c2 abc"],
    ["nope!=x", "c1 c2 abc"],
    ['nope!=""', ""],
    ['nope==""', ""],
    ["nope~=|.*|", "c1 c2 abc"],
    ["nope~=^$", "c1 c2 abc"],
    ['labels.q=="say \\"hi\\""', "c2"],
    ['labels.s=="a\\nb"', "c2"],
    ['labels.s=="a\\012b"', "c2"],
    ['labels.s=="a\\x0ab"', "c2"],
    ['labels.s=="a\\u000ab"', "c2"],
    ['labels."com.x/y"=="1,2"', "c2"],
    ['id!="\\xff"', "c1 c2 abc"],
    ["id==c1.x", ""],
    ["id.x==c1", "c1"],
    ["runtime.name==other.v1", "abc"],
    ["runtime", ""],
    ["runtime.x", ""],
    ["labels", ""],
    ["id==🚀", ""],
    ["\u00a0id==c1", "c1"],
    ["id\u2003==c1", "c1"],
    ["id~=(?=c)", ""],
    ["id~=\\Qc1\\E", "c1"],
  ])("%j", (filter, expected) => {
    expect(ask(filter)).toBe(expected);
  });

  it("an empty list matches everything, several filters are alternatives, and an empty one swallows the rest", () => {
    expect(ask()).toBe("c1 c2 abc");
    expect(ask("id==c1", "id==c2")).toBe("c1 c2");
    expect(ask("id==zzz", "")).toBe("c1 c2 abc");
    expect(ask("", "id===")).toBe('filters: parse error: [id >|=|< ==]: unsupported operator "==="');
  });
});

describe("filters are refused in containerd's words", () => {
  it.each([
    ["labels.é==x", "[labels. >|\ufffd|< \ufffd==x]: expected field or quoted"],
    ["id===c1", '[id >|=|< ==c1]: unsupported operator "==="'],
    ["id=c1", '[id >|=|< c1]: unsupported operator "="'],
    ["id==", "[id==]: expected value or quoted"],
    ["id==c1 ", "[id==c1 >| |< ]: unexpected input:  "],
    ["id,", "[id,]: expected field or quoted"],
    ["id==/c1/", "[id== >|/|< c1/]: invalid quote encountered"],
    ["topic!=/tasks/oom", "[topic!= >|/|< tasks/oom]: invalid quote encountered"],
    ["topic~=/tasks/oom/", "[topic~=/tasks/ >|o|< om/]: unexpected input: o"],
    ["nope~=.*", "[nope~= >|.|< *]: expected value or quoted"],
    ['labels.s=="a\nb"', '[labels.s== >|"|< a\nb"]: quoted literal not terminated'],
    ['id=="c1', '[id== >|"|< c1]: quoted literal not terminated'],
    ['id=="\\q"', '[id== >|"|< \\q"]: illegal escape sequence'],
    ['id=="\\x1"', '[id== >|"|< \\x1"]: illegal numeric escape sequence'],
    ['id=="\\400"', '[id== >|"|< \\400"]: unquoting failed: quote syntax error'],
    ["id c1", '[id  >|c|< 1]: expected an operator ("=="|"!="|"~=")'],
  ])("%j", (filter, expected) => {
    expect(ask(filter)).toBe(`filters: parse error: ${expected}`);
    expect(() => compileFilters([filter])).toThrow(expect.objectContaining({ kind: "invalid-argument" }));
  });
});

it("leases, plugins, namespaces and tasks show their own fields", () => {
  const labels = { x: "1" };
  expect(compileFilters(["id==l,labels.x==1"])(adaptLease({ id: "l", labels }))).toBe(true);
  expect(
    compileFilters(["id==p,type~=snapshotter"])(
      adaptPlugin({ type: "io.containerd.snapshotter.v1", id: "p" }),
    ),
  ).toBe(true);
  expect(compileFilters(["name==n,labels.x"])(adaptNamespace({ name: "n", labels }))).toBe(true);
  expect(compileFilters(["labels.toString"])(adaptNamespace({ name: "n", labels }))).toBe(false);
  const task = adaptTask({ id: "t", namespace: "moby" });
  expect(compileFilters(["id==t,namespace==moby"])(task)).toBe(true);
  expect(compileFilters(["image"])(task)).toBe(false);
});

it("a regular expression that would backtrack for ever elsewhere answers at once", () => {
  const matches = compileFilters(["id~=|(a+)+$|"]);
  const begin = performance.now();
  expect(matches(() => `${"a".repeat(5000)}!`)).toBe(false);
  expect(performance.now() - begin).toBeLessThan(2000);
});

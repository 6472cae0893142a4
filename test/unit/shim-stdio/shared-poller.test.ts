import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { SharedPoller } from "../../../src/shim/stdio/shared-poller.js";

describe("the shared poller", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("has one timer for all questions and none without any", () => {
    const poller = new SharedPoller();
    const stops = [1, 2, 3].map(() => poller.add(() => false));
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(1_000);
    expect(vi.getTimerCount()).toBe(1);
    for (const stop of stops) stop();
    expect(vi.getTimerCount()).toBe(0);
    expect(poller.size).toBe(0);
  });

  it("asks a new question at once, an old one four times a second, and an answered one never again", () => {
    const poller = new SharedPoller();
    let asked = 0;
    poller.add(() => {
      asked++;
      return asked === 400;
    });
    vi.advanceTimersByTime(3);
    expect(asked).toBe(1);
    vi.advanceTimersByTime(9_000);
    expect(asked).toBeGreaterThan(150);
    vi.advanceTimersByTime(5_000);
    const before = asked;
    vi.advanceTimersByTime(10_000);
    expect(asked - before).toBeGreaterThanOrEqual(38);
    expect(asked - before).toBeLessThanOrEqual(41);
    vi.advanceTimersByTime(120_000);
    expect(asked).toBe(400);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("lets a question give up another one while it is asked", () => {
    const poller = new SharedPoller();
    let second = 0;
    let stop = (): void => {};
    poller.add(() => {
      stop();
      return true;
    });
    stop = poller.add(() => {
      second++;
      return false;
    });
    vi.advanceTimersByTime(100);
    expect(second).toBe(0);
    expect(poller.size).toBe(0);
  });
});

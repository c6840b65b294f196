import t from "tap";
import { SharedWork } from "../../../src/images/shared-work.ts";

function gate(): { open: (value: number) => void; promise: Promise<number> } {
  let open: (value: number) => void = () => undefined;
  const promise = new Promise<number>((resolve) => {
    open = resolve;
  });
  return { open, promise };
}

t.test("callers share one piece of work and its progress, also the first word of it", async (t) => {
  const shared = new SharedWork<number, string>();
  const { open, promise } = gate();
  let runs = 0;
  const said: string[] = [];
  const work = (_signal: AbortSignal, report: (progress: string) => void): Promise<number> => {
    runs += 1;
    report("begun");
    return promise;
  };
  const signal = new AbortController().signal;
  const all = [
    shared.join("k", { signal, onProgress: (text) => said.push(`1 ${text}`) }, work),
    shared.join("k", { signal, onProgress: (text) => said.push(`2 ${text}`) }, work),
  ];
  open(7);
  t.same(await Promise.all(all), [7, 7]);
  t.equal(runs, 1);
  t.same(said, ["1 begun", "2 begun"]);
  await shared.join("k", { signal }, async () => 8).then((value) => t.equal(value, 8, "nothing is remembered"));
});

t.test("the last one to leave stops the work and waits for its end; a newcomer begins anew after that", async (t) => {
  const shared = new SharedWork<number, never>();
  const order: string[] = [];
  const { open, promise: cleaned } = gate();
  const work = (signal: AbortSignal): Promise<number> =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        order.push("stopping");
        void cleaned.then(() => {
          order.push("cleaned");
          reject(signal.reason);
        });
      });
    });
  const one = new AbortController();
  const two = new AbortController();
  const first = shared.join("k", { signal: one.signal }, work).catch((reason: unknown) => reason);
  const second = shared.join("k", { signal: two.signal }, work).catch((reason: unknown) => order.push("told") && reason);
  await new Promise(setImmediate);
  one.abort("one leaves");
  t.equal(await first, "one leaves");
  t.same(order, [], "the other goes on");
  two.abort("two leaves");
  const third = shared.join("k", { signal: new AbortController().signal }, async () => {
    order.push("anew");
    return 9;
  });
  await new Promise(setImmediate);
  t.same(order, ["stopping"]);
  open(0);
  t.equal(await second, "two leaves");
  t.equal(await third, 9);
  t.same(order.slice(0, 2), ["stopping", "cleaned"]);
  t.ok(order.indexOf("anew") > order.indexOf("cleaned"));
});

t.test("a failure reaches every caller; who comes aborted begins nothing", async (t) => {
  const shared = new SharedWork<number, never>();
  const signal = new AbortController().signal;
  const fail = async (): Promise<number> => {
    throw new Error("broken");
  };
  const results = await Promise.allSettled([shared.join("k", { signal }, fail), shared.join("k", { signal }, fail)]);
  t.same(
    results.map(({ status }) => status),
    ["rejected", "rejected"],
  );
  let ran = false;
  await t.rejects(
    shared.join("k", { signal: AbortSignal.abort(new Error("late")) }, async () => {
      ran = true;
      return 1;
    }),
    { message: "late" },
  );
  t.equal(ran, false);
});

import type { Test } from "tap";
import type { RecordStoreSlot, StoreContents } from "../../../src/state/index.ts";

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const shown = ({ records, meta }: StoreContents): object => ({ records: records.map(({ id, frame }) => `${id}=${Buffer.from(frame).toString()}`), meta });

/** What every record store does. `slot` is empty and nobody has it open. */
export async function checkRecordStore(t: Test, slot: RecordStoreSlot): Promise<void> {
  await t.test("empty at first, then what was written, in the order of ids", async (t) => {
    const store = await slot.open();
    t.same(shown(await store.load()), { records: [], meta: {} });
    await store.write({
      put: [
        { id: "user/a/x/2", frame: bytes("two") },
        { id: "host/p/z/x/1", frame: bytes("one") },
      ],
      meta: { "start-number": "7", "store-id": "s" },
    });
    t.same(shown(await store.load()), { records: ["host/p/z/x/1=one", "user/a/x/2=two"], meta: { "start-number": "7", "store-id": "s" } });
    await store.close();
  });

  await t.test("it outlives being closed; a batch replaces, removes and keeps the rest", async (t) => {
    const store = await slot.open();
    await store.write({
      put: [
        { id: "user/a/x/2", frame: bytes("newer") },
        { id: "user/a/x/3", frame: new Uint8Array() },
      ],
      remove: ["host/p/z/x/1", "never/there"],
      meta: { "start-number": "8" },
    });
    await store.close();
    const again = await slot.open();
    t.same(shown(await again.load()), { records: ["user/a/x/2=newer", "user/a/x/3="], meta: { "start-number": "8", "store-id": "s" } });
    await again.close();
  });

  await t.test("writes without waiting reach it in order", async (t) => {
    const store = await slot.open();
    await Promise.all(Array.from({ length: 20 }, (_, at) => store.write({ put: [{ id: "user/a/x/2", frame: bytes(`v${at}`) }] })));
    await store.close();
    const again = await slot.open();
    t.match(shown(await again.load()), { records: ["user/a/x/2=v19", "user/a/x/3="] });
    await again.close();
  });

  await t.test("set aside, the next one is empty", async (t) => {
    const name = await slot.setAside();
    t.match(name, /damaged/);
    const store = await slot.open();
    t.same(shown(await store.load()), { records: [], meta: {} });
    await store.close();
  });
}

import t from "tap";
import { Libp2pFrameStream } from "../../../src/mesh/drivers/libp2p-frame-stream.ts";
import { withLength } from "../../../src/mesh/frame-cutter.ts";
import { STREAM_QUEUE_HIGH_BYTES } from "../../../src/mesh/limits.ts";
import { peerId } from "../identity/fixtures.ts";

const FRAME = withLength(Buffer.alloc(64 * 1024, 1));

/** As yamux's streams are: held back while paused, told in one go when resumed, and only then is the other side let send again. */
class HeldStream extends EventTarget {
  readStatus: "readable" | "paused" = "readable";
  /** Whether the other side may send. */
  open = true;
  held: Uint8Array[] = [];

  pause(): void {
    this.readStatus = "paused";
    this.open = false;
  }

  resume(): void {
    this.readStatus = "readable";
    for (const data of this.held.splice(0)) this.dispatchEvent(Object.assign(new Event("message"), { data }));
    this.open = true;
  }

  receive(data: Uint8Array): void {
    if (this.readStatus === "paused") this.held.push(data);
    else this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }
}

t.test("what was held back fills the queue anew: the other side stays stopped until it is read", async (t) => {
  const held = new HeldStream();
  const stream = new Libp2pFrameStream(peerId("peer 2"), held as never, false, () => undefined);
  const frames = stream.frames()[Symbol.asyncIterator]();
  const fill = Math.ceil(STREAM_QUEUE_HIGH_BYTES / FRAME.length) + 1;
  for (let at = 0; at < fill; at += 1) held.receive(FRAME);
  t.equal(held.open, false, "the queue is full");
  // On its way already.
  for (let at = 0; at < fill; at += 1) held.receive(FRAME);
  t.equal(held.held.length, fill);
  let read = 0;
  while (held.held.length > 0) {
    await frames.next();
    read += 1;
  }
  t.same([held.open, held.readStatus], [false, "paused"], `full again after ${read} frames were read`);
  for (; read < 2 * fill; read += 1) t.equal((await frames.next()).done, false);
  t.same([held.open, held.readStatus], [true, "readable"], "and open when it is empty");
});

import t from "tap";
import { markerOf } from "../../../src/images/whiteouts.ts";

t.test("what a name marks", async (t) => {
  const names = ["a", "wh.a", ".wh", ".wh.a", ".wh..hidden", ".wh..wh..opq", ".wh..wh.aufs", ".wh.", ".wh..", ".wh...", ".wh....", ".wh.\xff"];
  t.same(
    names.map((name) => {
      const marker = markerOf(name);
      return marker.marks === "hidden" ? `hidden ${marker.name}` : marker.marks;
    }),
    ["nothing", "nothing", "nothing", "hidden a", "hidden .hidden", "opaque", "rubbish", "rubbish", "rubbish", "rubbish", "hidden ...", "hidden \xff"],
  );
});

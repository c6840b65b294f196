import t from "tap";
import type { VolumeId } from "../../../src/base/index.ts";
import { base32 } from "../../../src/base/index.ts";
import { systemRandom } from "../../../src/host/index.ts";
import { leftovers, makeScene, runShell } from "./harness.ts";

const scene = await makeScene();
const runtime = await scene.open();
t.teardown(() => scene.close());
const newVolume = () => `v${base32(systemRandom.bytes(13)).slice(0, 20)}` as VolumeId;
t.test("x", async (t) => {
  const id = newVolume();
  await scene.volumes().create(id, 64 * 1024 ** 2);
  const ran = await runShell(
    runtime,
    scene,
    "id; ls -lan /data; echo x > /data/x; touch /ro/y; echo ro $?; ls -lan /data; df /data; mount | grep -e data -e /ro; mount -o remount,rw /ro; unshare -Urm mount -o remount,bind,rw /ro; ls -la / ; cat /ro/x",
    {
      user: "1000",
      volumes: [
        { id, path: "/data", readOnly: false },
        { id, path: "/ro", readOnly: true },
      ],
      readOnly: true,
    },
  );
  console.error(ran);
  for (const id of await runtime.list()) await runtime.remove(id);
  t.same(await leftovers(scene), []);
  console.error(await scene.volumes().list());
  await scene.volumes().remove(id);
});

import t from "tap";
import { boundNamespaces, cgroupRoots, mountsBelow, mountsToDrop, parseMountInfo } from "../../../nodes/lab/mounts.ts";

const text = `26 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
21 26 0:20 / /proc rw - proc proc rw
30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
33 30 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
50 26 8:1 / /data rw - ext4 /dev/sdb1 rw
51 26 7:0 / /mnt/my\\040disk rw - ext4 /dev/loop0 rw
52 26 0:50 / /var/lib/x/merged rw - overlay overlay rw,lowerdir=a
53 26 0:51 / /run/user/0 rw - tmpfs tmpfs rw
54 26 8:1 /c/.lab/main/ns /data/c/.lab/main/ns rw - ext4 /dev/sdb1 rw
55 54 0:4 net:[4026532177] /data/c/.lab/main/ns/net-h1 rw - nsfs nsfs rw
56 50 7:1 / /data/c rw - ext4 /dev/loop1 rw
`;
const mounts = parseMountInfo(text);

t.test("mountinfo is read, with its escapes and optional fields", async (t) => {
  t.equal(mounts.length, 13);
  t.same(mounts[7], { root: "/", point: "/mnt/my disk", type: "ext4", source: "/dev/loop0" });
});

t.test("a host lets go of what it would keep alive, and keeps what it stands on", async (t) => {
  t.same(
    mountsToDrop(mounts, ["/data/c/checkout"]),
    ["/data/c/.lab/main/ns/net-h1", "/data/c/.lab/main/ns", "/run/user/0", "/var/lib/x/merged", "/mnt/my disk"],
    "the last mounted first; the loop that holds the checkout stays",
  );
  t.ok(mountsToDrop(mounts, ["/elsewhere"]).includes("/data/c"));
});

t.test("a folder's mounts come in the order to unmount them", async (t) => {
  t.same(mountsBelow(mounts, "/data/c/.lab/main"), ["/data/c/.lab/main/ns/net-h1", "/data/c/.lab/main/ns"]);
  t.same(mountsBelow(mounts, "/data/c/.lab/mai"), [], "a name that only begins alike is another folder");
  t.same([...boundNamespaces(mounts, "/data/c/.lab/main/ns")], [["/data/c/.lab/main/ns/net-h1", "net:[4026532177]"]]);
});

t.test("cgroup hierarchies of either version", async (t) => {
  t.same(cgroupRoots(mounts), ["/sys/fs/cgroup/cpu"], "version 1: not cpuset, and not the second version beside it");
  t.same(cgroupRoots(parseMountInfo("30 22 0:27 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw")), ["/sys/fs/cgroup"]);
});

import t from "tap";
import { CGROUP_FILES, deviceName, readCgroupUse, readDiskTraffic, readInterfaces, trafficSince } from "../../../src/containers/metrics.ts";

/** As files of real machines read; what a kernel does not have is missing. */
const from = (files: Readonly<Record<string, string>>) => (file: string) => files[file] ?? "";

const V1: Readonly<Record<string, string>> = {
  "cpuacct.usage": "2500000000\n",
  "cpu.stat": "nr_periods 12\nnr_throttled 3\nthrottled_time 250000000\n",
  "cpu.cfs_quota_us": "-1\n",
  "cpu.cfs_period_us": "100000\n",
  "memory.usage_in_bytes": "33554432\n",
  "memory.max_usage_in_bytes": "41943040\n",
  "memory.limit_in_bytes": "67108864\n",
  "memory.stat": "cache 12288\nrss 20\ninactive_file 1\ntotal_cache 12288\ntotal_inactive_file 8388608\ntotal_active_file 0\n",
  "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
  "pids.current": "7\n",
  "pids.max": "64\n",
};
const V2: Readonly<Record<string, string>> = {
  "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 12\nnr_throttled 3\nthrottled_usec 250000\n",
  "cpu.max": "150000 100000\n",
  "memory.current": "33554432\n",
  "memory.peak": "41943040\n",
  "memory.max": "67108864\n",
  "memory.stat": "anon 20\nfile 30\ninactive_anon 4\ninactive_file 8388608\n",
  "memory.events": "low 0\nhigh 0\nmax 5\noom 2\noom_kill 2\noom_group_kill 0\n",
  "pids.current": "7\n",
  "pids.max": "max\n",
};

t.test("both versions of cgroups tell the same", async (t) => {
  const memory = { usedBytes: 25_165_824, peakBytes: 41_943_040, limitBytes: 67_108_864, oomKills: 2 };
  t.same(readCgroupUse(1, from(V1)), {
    cpu: { usedSeconds: 2.5, limitCores: 0, throttledSeconds: 0.25 },
    memory,
    pids: { current: 7, limit: 64 },
  });
  t.same(readCgroupUse(2, from(V2)), {
    cpu: { usedSeconds: 2.5, limitCores: 1.5, throttledSeconds: 0.25 },
    memory,
    pids: { current: 7, limit: 0 },
  });
  t.same(new Set(CGROUP_FILES[1].map(([, file]) => file)), new Set(Object.keys(V1)), "every file that is read is one of the list");
  t.same(new Set(CGROUP_FILES[2]), new Set(Object.keys(V2)));
});

t.test("no limit, an older kernel, a cgroup that is gone", async (t) => {
  const open = { ...V1, "memory.limit_in_bytes": "9223372036854771712\n", "pids.max": "max\n", "cpu.cfs_quota_us": "50000\n" };
  t.match(readCgroupUse(1, from(open)), { cpu: { limitCores: 0.5 }, memory: { limitBytes: 0 }, pids: { limit: 0 } });
  t.match(readCgroupUse(2, from({ ...V2, "memory.peak": "", "memory.max": "max\n", "cpu.max": "max 100000\n" })), {
    cpu: { limitCores: 0 },
    memory: { peakBytes: 0, limitBytes: 0 },
  });
  for (const version of [1, 2] as const) {
    t.same(readCgroupUse(version, from({})), {
      cpu: { usedSeconds: 0, limitCores: 0, throttledSeconds: 0 },
      memory: { usedBytes: 0, peakBytes: 0, limitBytes: 0, oomKills: 0 },
      pids: { current: 0, limit: 0 },
    });
    t.same(
      readCgroupUse(version, () => "rubbish\n\u0000"),
      readCgroupUse(version, from({})),
    );
  }
});

t.test("interfaces: its own, neither loopback nor what the kernel puts everywhere", async (t) => {
  const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
 tunl0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  eth0: 1234567     890    0    0    0     0          0         0   765432     109    0    0    0     0       0          0
eth0:1:12345678901 5    0    0    0     0          0         0   6     7    0    0    0     0       0          0
`;
  t.same(readInterfaces(text), [
    { name: "eth0", receivedBytes: 1_234_567, receivedPackets: 890, sentBytes: 765_432, sentPackets: 109 },
    { name: "eth0:1", receivedBytes: 12_345_678_901, receivedPackets: 5, sentBytes: 6, sentPackets: 7 },
  ]);
  t.same(readInterfaces(""), []);
  t.same(readInterfaces("eth0: 1 2\neth1: x y z\n"), []);
});

t.test("a block device's traffic, and its name", async (t) => {
  t.same(readDiskTraffic("     100        3     2048       12       50        0      512        5        0        9       20        0        0\n"), {
    reads: 100,
    readBytes: 1_048_576,
    writes: 50,
    writtenBytes: 262_144,
  });
  const none = { reads: 0, readBytes: 0, writes: 0, writtenBytes: 0 };
  t.same(readDiskTraffic(""), none);
  const [before, now] = [
    { reads: 1, readBytes: 512, writes: 3, writtenBytes: 1_536 },
    { reads: 2, readBytes: 1_024, writes: 9, writtenBytes: 9_216 },
  ];
  t.same(trafficSince(before, now), { reads: 1, readBytes: 512, writes: 6, writtenBytes: 7_680 });
  t.same(trafficSince(now, before), none, "never below nothing");
  t.equal(deviceName(0x0703), "7:3");
  t.equal(deviceName(0x1007ff), "7:511", "a minor above 255 has its upper bits above the major's");
  t.equal(deviceName(0xfd00), "253:0");
});

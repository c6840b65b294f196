import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RouterMapping } from "../../nodes/lab/router-scripts.ts";
import { eventually, type TestLab } from "./lab.ts";

type Port = { readonly hostPort: number; readonly external: string; readonly note: string };
type Container = { readonly id: string; readonly ports: readonly Port[] };
type Host = { readonly name: string; readonly state: string; readonly outside: boolean; readonly outsideNote: string; readonly endpoints: readonly string[] };

const LEASE_S = 12;
/** A lease, and miniupnpd's pause between two looks; much more where the machine is at work for others. */
const WITHIN_LEASE_MS = 30_000;
/** For everything else to become as it should be. */
const SOON_MS = 60_000;
const WEB = ["sh", "-c", "mkdir -p /tmp/w; hostname >/tmp/w/index.html; exec busybox httpd -f -p 80 -h /tmp/w"];
export const [MESH, API] = [4_001, 7_443];
/** What the router forwards for the peer itself, and with the port of its container. */
export const OWN: readonly string[] = [`${MESH}/tcp -> ${MESH}`, `${API}/tcp -> ${API}`];
export const WITH_WEB: readonly string[] = [...OWN, "8080/tcp -> 8080"];

/** Host 2 of a lab of two is behind a home router, host 1 is outside. */
export class HomeScene {
  readonly lab: TestLab;
  /** The router's address as the world sees it, and the host's at home. */
  readonly outside: string;
  readonly home: string;

  private constructor(lab: TestLab, outside: string, home: string) {
    this.lab = lab;
    this.outside = outside;
    this.home = home;
  }

  static async of(lab: TestLab): Promise<HomeScene> {
    const { router, hosts } = await lab.status();
    return new HomeScene(lab, router?.address ?? "", hosts[1]?.address ?? "");
  }

  /** The peer behind the router asks it for its own ports from now on, and for leases of seconds. */
  async configure(): Promise<void> {
    const file = join(this.lab.folder, "hosts/h2/peer.json");
    const config = { ...JSON.parse(readFileSync(file, "utf8")), forward: { mesh: true, api: true, leaseSeconds: LEASE_S } };
    writeFileSync(file, JSON.stringify(config, null, 2));
    await this.lab.must("restart", "2");
  }

  /** What the router forwards to host 2. */
  async mapped(): Promise<string[]> {
    const all: readonly RouterMapping[] = JSON.parse(await this.lab.must("router", "mappings", "--json"));
    return all.flatMap(({ externalPort, protocol, address, port }) => (address === this.home ? [`${externalPort}/${protocol} -> ${port}`] : [])).toSorted();
  }

  async untilMapped(what: string, wanted: readonly string[]): Promise<void> {
    const limitMs = wanted.length === 0 ? WITHIN_LEASE_MS : SOON_MS;
    await eventually(what, async () => (await this.mapped()).join() === wanted.toSorted().join(), limitMs);
  }

  /** A container on the host behind the router, once others have found the host again: for some seconds they may not know yet that they lost it. */
  async run(image: string): Promise<void> {
    const words = ["--memory", "16m", "--disk", "32m", "--publish", "8080:80", "--forward", "--", ...WEB];
    let refusal = "";
    const runs = async (): Promise<boolean> => {
      const { code, stderr } = await this.lab.cc(["run", "--detach", "--name", "web", "--host", "h2", "--image", image, ...words]);
      refusal = stderr;
      return code === 0;
    };
    await eventually("the host is reached", runs, SOON_MS).catch(() => {
      throw new Error(refusal);
    });
  }

  /** From host 1, for which the home is behind its router. busybox's own limit (`-T`) ends Debian's static build with a fault. */
  async untilReached(what: string): Promise<void> {
    const fetching = ["timeout", "4", "busybox", "wget", "-qO-", `http://${this.outside}:8080/`];
    await eventually(what, async () => (await this.lab.on(1, ...fetching)).stdout === "web\n", SOON_MS);
  }

  /** Whether host 1 gets a connection to that port of the router. */
  async connects(port: number): Promise<boolean> {
    return (await this.lab.on(1, "socat", "-u", "/dev/null", `TCP:${this.outside}:${port},connect-timeout=4`)).code === 0;
  }

  async port(host = 1): Promise<Port | undefined> {
    return (await this.lab.json<Container[]>(["status", "web"], { host }))[0]?.ports[0];
  }

  /** Host 2 as another peer shows it. */
  async shown(): Promise<Host | undefined> {
    return (await this.lab.json<Host[]>(["host", "list"])).find(({ name }) => name === "h2");
  }

  async killContainer(): Promise<void> {
    const id = (await this.lab.json<Container[]>(["status", "web"]))[0]?.id;
    const pid = (await this.lab.on(2, "cat", `/run/cc/containers/${id}/ctr.pid`)).stdout.trim();
    if ((await this.lab.on(2, "kill", "-9", pid)).code !== 0) throw new Error(`the container's process ${pid} is not there`);
  }
}

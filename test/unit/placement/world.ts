/** A handful of hosts on one virtual clock, with a network that a test can cut, slow down and listen to. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { PhaseSchema, type SignedRequest, SignedRequestSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { ContainerId, PeerId } from "../../../src/base/index.ts";
import type { PlacementOutcome } from "../../../src/placement/index.ts";
import { type Body, keysOf, MESH_ID, requests, type SpecOptions } from "./fake-requests.ts";
import { SimHost } from "./sim-host.ts";
import { VirtualTime } from "./virtual-time.ts";

export { KEY, MIB } from "./fake-requests.ts";
export type { SimHost } from "./sim-host.ts";

export class World {
  readonly time = new VirtualTime();
  /** Sorted by peer id, so that `hosts[0]` is the lowest. */
  readonly hosts: SimHost[] = [];
  readonly calls: string[] = [];
  /** Every message may be lost or held up: a number is a delay in ms. */
  onMessage: (from: SimHost, to: SimHost, kind: string) => "drop" | number = () => 1;
  /** `from>to` by name: calls fail at once. */
  readonly cut = new Set<string>();
  /** The same, but calls are met with silence. */
  readonly silent = new Set<string>();
  #nonce = 0;

  constructor(count: number, zones: readonly string[] = ["a"]) {
    const names = Array.from({ length: count }, (_, at) => `host-${at}`).sort((x, y) => (keysOf(x).peer < keysOf(y).peer ? -1 : 1));
    for (const [at, name] of names.entries()) this.hosts.push(new SimHost(this, name, zones[at % zones.length] ?? "a"));
  }

  host(peer: PeerId): SimHost {
    const host = this.hosts.find((other) => other.peer === peer);
    if (host === undefined) throw new Error(`no host ${peer}`);
    return host;
  }

  at(index: number): SimHost {
    const host = this.hosts[index];
    if (host === undefined) throw new Error(`no host number ${index}`);
    return host;
  }

  isSilent(from: SimHost, to: SimHost): boolean {
    return to.dead || this.silent.has(`${from.name}>${to.name}`);
  }

  isUp(from: SimHost, to: SimHost): boolean {
    return !from.dead && !to.dead && !this.cut.has(`${from.name}>${to.name}`) && !this.isSilent(from, to);
  }

  async deliver(from: SimHost, to: SimHost, kind: string, arrive: () => unknown): Promise<void> {
    const fate = this.onMessage(from, to, kind);
    if (fate === "drop") return;
    await this.time.sleep(fate);
    if (this.isUp(from, to)) await arrive();
  }

  request(to: SimHost, token: string, spec: SpecOptions = {}, askedBefore: readonly SimHost[] = []): SignedRequest {
    this.#nonce += 1;
    const body: Body = {
      to: { call: "Run", mesh: MESH_ID, peer: to.peer },
      token,
      spec,
      askedBefore: askedBefore.map((host) => host.peer),
      nonce: `nonce-${this.#nonce}`,
      signedAtMs: to.clock.nowMs(),
    };
    return create(SignedRequestSchema, { body: Buffer.from(JSON.stringify(body)), signatureInput: `nonce-${this.#nonce}`, signature: "good" });
  }

  place(
    to: SimHost,
    token: string,
    spec: SpecOptions = {},
    askedBefore: readonly SimHost[] = [],
    signal: AbortSignal = new AbortController().signal,
  ): Promise<PlacementOutcome> {
    const request = this.request(to, token, spec, askedBefore);
    const asked = requests.read(request);
    if (!asked.ok) throw new Error(asked.message);
    return to.placement.requester.place(asked.value, request, signal);
  }

  run(to: SimHost, token: string, spec: SpecOptions = {}, askedBefore: readonly SimHost[] = []): Promise<PlacementOutcome> {
    return this.time.settle(this.place(to, token, spec, askedBefore));
  }

  /** Hosts whose own records say that they have claimed the container and have not given way. */
  holders(id: ContainerId): SimHost[] {
    return this.hosts.filter((host) => {
      const records = [...(host.replica.byContainer.get(id)?.values() ?? [])];
      const claim = records.some((record) => record.key === `host/${host.peer}/${host.zone}/claim/${id}`);
      const phase = records.find((record) => record.key === `host/${host.peer}/${host.zone}/phase/${id}`);
      return claim && (phase === undefined || fromBinary(PhaseSchema, phase.content).phase !== "yielded");
    });
  }

  stop(): void {
    for (const host of this.hosts) host.placement.stop();
  }
}

import type * as wire from "./gen/cc/v1/cloud_pb.ts";

/**
 * The contract's JSON form without the protobuf runtime (which would cost the command line 16 ms a start): the types
 * are taken from the generated ones, and client-replies.ts fills a reply from a shape, because the JSON form leaves out what is
 * empty. Only doubles, strings, booleans, lists and string maps stand in cloud.proto, so the two forms are alike.
 */
export type Plain<T> = T extends readonly (infer Item)[]
  ? readonly Plain<Item>[]
  : T extends object
    ? { readonly [K in keyof T as K extends "$typeName" | "$unknown" ? never : K]: Plain<T[K]> }
    : T;

/** A message of which any part may be left out. */
export type Given<T> = { readonly [K in keyof T]?: NonNullable<T[K]> extends readonly unknown[] | string | number | boolean ? T[K] : Given<NonNullable<T[K]>> };

export type Written = Plain<wire.Written>;
export type ContainerSpecMessage = Plain<wire.ContainerSpec>;
export type ContainerState = Plain<wire.ContainerState>;
export type HostState = Plain<wire.HostState>;
export type KeyState = Plain<wire.KeyState>;
export type ContainerMetrics = Plain<wire.ContainerMetrics>;
export type ImageState = Plain<wire.ImageState>;
export type ItemError = Plain<wire.ItemError>;
export type BidAnswer = Plain<wire.BidAnswer>;
export type ChangeReply = Plain<wire.ChangeReply>;
export type VolumeState = Plain<wire.VolumeState>;
export type VpcState = Plain<wire.VpcState>;
export type FirewallRuleState = Plain<wire.FirewallRuleState>;
export type Inspection = Plain<wire.Inspection>;

type Calls = {
  Hello: [wire.HelloRequest, wire.HelloReply];
  Admit: [wire.AdmitRequest, wire.AdmitReply];
  Introduce: [wire.IntroduceRequest, wire.IntroduceReply];
  WhoAmI: [wire.WhoAmIRequest, wire.WhoAmIReply];
  Run: [wire.RunRequest, wire.RunReply];
  ListContainers: [wire.ListContainersRequest, wire.ListContainersReply];
  ContainerStatus: [wire.ContainerStatusRequest, wire.ContainerStatusReply];
  Resolve: [wire.ResolveRequest, wire.ResolveReply];
  Stop: [wire.StopRequest, wire.ChangeReply];
  Start: [wire.StartRequest, wire.ChangeReply];
  Restart: [wire.RestartRequest, wire.ChangeReply];
  Remove: [wire.RemoveRequest, wire.ChangeReply];
  CreateVolume: [wire.CreateVolumeRequest, wire.CreateVolumeReply];
  ListVolumes: [wire.ListVolumesRequest, wire.ListVolumesReply];
  InspectVolumes: [wire.InspectVolumesRequest, wire.InspectVolumesReply];
  DeleteVolumes: [wire.DeleteVolumesRequest, wire.ChangeReply];
  CreateVpc: [wire.CreateVpcRequest, wire.CreateVpcReply];
  ListVpcs: [wire.ListVpcsRequest, wire.ListVpcsReply];
  InspectVpcs: [wire.InspectVpcsRequest, wire.InspectVpcsReply];
  DeleteVpcs: [wire.DeleteVpcsRequest, wire.ChangeReply];
  CreateFirewallRule: [wire.CreateFirewallRuleRequest, wire.CreateFirewallRuleReply];
  ListFirewallRules: [wire.ListFirewallRulesRequest, wire.ListFirewallRulesReply];
  RemoveFirewallRules: [wire.RemoveFirewallRulesRequest, wire.ChangeReply];
  ListHosts: [wire.ListHostsRequest, wire.ListHostsReply];
  CreateInvite: [wire.CreateInviteRequest, wire.CreateInviteReply];
  RemoveHost: [wire.RemoveHostRequest, wire.RemoveHostReply];
  CreateKey: [wire.CreateKeyRequest, wire.CreateKeyReply];
  ListKeys: [wire.ListKeysRequest, wire.ListKeysReply];
  RevokeKey: [wire.RevokeKeyRequest, wire.RevokeKeyReply];
  Inspect: [wire.InspectRequest, wire.InspectReply];
  Wait: [wire.WaitRequest, wire.WaitReply];
  Metrics: [wire.MetricsRequest, wire.MetricsReply];
  MissingBlobs: [wire.MissingBlobsRequest, wire.MissingBlobsReply];
  ListImages: [wire.ListImagesRequest, wire.ListImagesReply];
  RemoveImages: [wire.RemoveImagesRequest, wire.RemoveImagesReply];
};

export type CallName = keyof Calls;
export type UnsignedCall = "Hello" | "Admit" | "Introduce";
export type SignedCall = Exclude<CallName, UnsignedCall>;
export type StreamCall = "Run" | "Logs" | "Attach" | "Exec" | "Push";
/** Streams that carry more than one program's input and output: see client-channel.ts. */
export type ChannelCall = "Tunnel";
/** A request as its caller fills it: what is left out is empty; addressing and token are the client's business. */
export type RequestOf<C extends CallName> = Given<Omit<Plain<Calls[C][0]>, "to">>;
export type ReplyOf<C extends CallName> = Plain<Calls[C][1]>;
export type LogsRequest = Partial<Omit<Plain<wire.LogsRequest>, "to">>;
export type AttachRequest = Partial<Omit<Plain<wire.AttachRequest>, "to">>;
export type ExecRequest = Partial<Omit<Plain<wire.ExecRequest>, "to">>;
export type ChannelRequestOf<C extends ChannelCall> = C extends "Tunnel" ? Omit<Plain<wire.TunnelRequest>, "to"> : never;
export type PushRequest = Partial<Omit<Plain<wire.PushRequest>, "to">>;
type StreamRequests = { Run: RequestOf<"Run">; Logs: LogsRequest; Attach: AttachRequest; Exec: ExecRequest; Push: PushRequest };
export type StreamRequestOf<C extends StreamCall> = StreamRequests[C];

/** Calls that change something: they carry the client's token, and what they wrote is remembered. */
export const WRITE_CALLS: ReadonlySet<string> = new Set([
  "Run",
  "Stop",
  "Start",
  "Restart",
  "Remove",
  "CreateInvite",
  "RemoveHost",
  "CreateKey",
  "RevokeKey",
  "CreateVolume",
  "DeleteVolumes",
  "CreateVpc",
  "DeleteVpcs",
  "CreateFirewallRule",
  "RemoveFirewallRules",
]);

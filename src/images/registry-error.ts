import type { ErrorCode, Refusal } from "../base/index.ts";
import { printable } from "./printable.ts";
import { type ImageReference, registryName } from "./reference.ts";

type Explanation = { readonly when: RegExp; readonly code: ErrorCode; readonly say: (reference: ImageReference) => string };

/** First match counts: a refusal for a wrong password also says "unable to retrieve", a full disk also "writing blob". */
const EXPLANATIONS: readonly Explanation[] = [
  { when: /no space left on device|disk quota exceeded/i, code: "NO_ROOM", say: () => "the disk of this host is full; free some room, or choose another host" },
  {
    when: /source image rejected|is rejected by policy/i,
    code: "IMAGE_DENIED",
    say: (reference) => `the signature policy of this host (containers-policy.json) does not accept ${registryName(reference)}`,
  },
  {
    when: /toomanyrequests|too many requests/i,
    code: "IMAGE_PULL_FAILED",
    say: ({ registry }) => `${registry} limits how often images are pulled; try again later, or give a user and password`,
  },
  {
    when: /unauthorized|authentication required|invalid username\/password|incorrect username or password|denied|forbidden|status 403|status 401/i,
    code: "IMAGE_DENIED",
    say: (reference) => `${reference.registry} does not give ${reference.repository} to this user; check the name, user and password`,
  },
  {
    when: /manifest unknown|name unknown|name_unknown|manifest_unknown|repository .*not found|not found|status 404/i,
    code: "IMAGE_NOT_FOUND",
    say: (reference) => `${reference.registry} has no image ${registryName(reference)}; check name and tag`,
  },
  {
    when: /server gave HTTP response to HTTPS client/i,
    code: "REGISTRY_UNREACHABLE",
    say: ({ registry }) => `${registry} does not speak HTTPS; name it among the insecure registries in the configuration of the hosts if that is meant to be`,
  },
  {
    when: /x509|certificate|tls: /i,
    code: "REGISTRY_UNREACHABLE",
    say: ({ registry }) =>
      `the certificate of ${registry} is not trusted on this host; add its authority below /etc/containers/certs.d, or name it among the insecure registries in the configuration`,
  },
  {
    when: /connection refused|no such host|i\/o timeout|no route to host|network is unreachable|server misbehaving|deadline exceeded|connection reset|connection timed out|dial tcp|pinging container registry|\bEOF\b/i,
    code: "REGISTRY_UNREACHABLE",
    say: ({ registry }) => `${registry} cannot be reached from this host; check its name and the network, and try again`,
  },
  {
    when: /exceeded maximum allowed size/i,
    code: "IMAGE_PULL_FAILED",
    say: ({ registry }) => `${registry} gave a manifest or configuration that is too large to be one`,
  },
  {
    when: /digest did not match|does not match|size mismatch|checksum|digest mismatch|unexpected end/i,
    code: "IMAGE_PULL_FAILED",
    say: ({ registry }) => `${registry} gave something else than the image's digest says; try again`,
  },
];

/** What the text of a failed skopeo means to a user. */
export function explainRegistryError(stderr: string, reference: ImageReference): Refusal {
  // skopeo's last line is the error itself; what precedes it are warnings and progress.
  const lines = stderr.trim().split("\n");
  const last = lines[lines.length - 1] ?? "";
  const found = EXPLANATIONS.find(({ when }) => when.test(last)) ?? EXPLANATIONS.find(({ when }) => when.test(stderr));
  if (found !== undefined) return { ok: false, code: found.code, message: found.say(reference) };
  // Addresses of blobs may carry a signed query that gives access to them.
  const message = (/msg="((?:[^"\\]|\\.)*)"/.exec(last)?.[1] ?? last).replaceAll(/\?[^\s"\\]+/g, "");
  return {
    ok: false,
    code: "IMAGE_PULL_FAILED",
    message: `${registryName(reference)} cannot be pulled: ${printable(message === "" ? "the registry client gave no reason" : message)}`,
  };
}

import { hash } from "node:crypto";
import type { Random } from "../../src/base/index.ts";
import { createEd25519Verifier, type KeyPair, type Signer, sha256, type Verifier } from "../../src/identity/index.ts";

/**
 * Signatures that cost a microsecond: a hash of seed and message, which only this world's own verifier can check, because
 * it knows every seed. Nobody in the world can make another's. Everything above (keys, invites, certificates, requests,
 * records) is made by the real functions.
 */
export class KeyRing {
  readonly #seeds = new Map<string, Uint8Array>();
  /** Keys that were made outside, by code that makes its own: checked for what they are. */
  readonly #real = new Set<string>();
  readonly #ed25519 = createEd25519Verifier();
  /** What was signed, by signature: what is checked on every host is mostly this, and then needs no hash again. */
  readonly #signed = new Map<string, { readonly name: string; readonly message: Uint8Array }>();

  readonly verifier: Verifier = {
    verify: (publicKey, message, signature) => {
      const name = nameOf(publicKey);
      const signed = this.#signed.get(nameOf(signature));
      if (signed?.name === name && Buffer.compare(signed.message, message) === 0) return true;
      const seed = this.#seeds.get(name);
      if (seed !== undefined && Buffer.compare(sign(seed, message), signature) === 0) return true;
      return (seed === undefined || this.#real.has(name)) && this.#ed25519.verify(publicKey, message, signature);
    },
  };

  make(random: Pick<Random, "bytes">): KeyPair {
    const seed = random.bytes(32);
    return { seed, signer: this.#register(seed, sha256("simulated public key", seed)) };
  }

  /** A cheap signer for a key pair of real Ed25519, whose real signatures hold too. */
  adopt(seed: Uint8Array, publicKey: Uint8Array): Signer {
    this.#real.add(nameOf(publicKey));
    return this.#register(seed, publicKey);
  }

  #register(seed: Uint8Array, publicKey: Uint8Array): Signer {
    const name = nameOf(publicKey);
    this.#seeds.set(name, seed);
    return {
      publicKey,
      sign: (message) => {
        const signature = sign(seed, message);
        this.#signed.set(nameOf(signature), { name, message: new Uint8Array(message) });
        return signature;
      },
    };
  }
}

function sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
  return new Uint8Array(hash("sha512", Buffer.concat([seed, message]), "buffer"));
}

const nameOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");

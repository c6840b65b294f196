import {
  BLOCK_BYTES,
  badLayer,
  hasSparseBlock,
  isMember,
  joinPieces,
  noExtension,
  readHeader,
  readPax,
  readSparseBlock,
  type TarMember,
} from "./tar-member.ts";

/** What Go's reader takes too: names and attributes of a member are no file of their own. */
const EXTENSION_BYTES_MAX = 1024 * 1024;
/** Pieces of a sparse file that lie in blocks after its header. */
const SPARSE_BLOCKS_MAX = 2_048;

export interface TarSink {
  member(member: TarMember): void;
  /** Content of the last member, in pieces. */
  data(piece: Buffer): void;
  /** Everything of the last member has come. */
  memberEnd(): void;
}

/**
 * Reads a tar archive (v7, ustar, pax, GNU, in any mix) that comes in chunks of any size. Throws CcError
 * IMAGE_PULL_FAILED for what no archive looks like. What follows the end of an archive is passed over, as everywhere.
 */
export class TarReader {
  readonly #sink: TarSink;
  #state: "header" | "extension" | "sparse" | "data" | "padding" | "end" = "header";
  /** Bytes that the present state still waits for. */
  #wanted = BLOCK_BYTES;
  #kept: Buffer[] = [];
  #padding = 0;
  #extension = noExtension();
  #flag = "";
  #open: TarMember | undefined;
  #pieces: [string, string][] = [];
  #sparseBlocks = 0;
  #afterExtension = false;
  #isExtended = false;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /** `chunk` is not kept. */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && this.#state !== "end"; ) {
      const piece = chunk.subarray(at, at + this.#wanted);
      at += piece.length;
      this.#wanted -= piece.length;
      if (this.#state === "data") this.#sink.data(piece);
      // The caller's buffer may be used again for the next chunk.
      else if (this.#state !== "padding") this.#kept.push(this.#wanted === 0 ? piece : Buffer.from(piece));
      if (this.#wanted === 0) this.#next();
    }
  }

  /** To be called when nothing more comes: an archive may end without its mark, but not in the middle of a member. */
  end(): void {
    if (this.#state === "end" || (this.#state === "header" && this.#wanted === BLOCK_BYTES && !this.#afterExtension)) return;
    throw badLayer("it ends in the middle");
  }

  #next(): void {
    switch (this.#state) {
      case "header":
        return this.#header(this.#take());
      case "extension":
        this.#extend(this.#take());
        return this.#expect("padding", this.#padding);
      case "sparse":
        return this.#sparse(this.#take());
      case "data":
        return this.#expect("padding", this.#padding);
      case "padding": {
        if (this.#open !== undefined) this.#sink.memberEnd();
        this.#open = undefined;
        return this.#expect("header", BLOCK_BYTES);
      }
      case "end":
        return;
      default:
        return this.#state satisfies never;
    }
  }

  #take(): Buffer {
    const [only] = this.#kept;
    const whole = this.#kept.length === 1 && only !== undefined ? only : Buffer.concat(this.#kept);
    this.#kept = [];
    return whole;
  }

  #expect(state: "extension" | "data" | "padding" | "header" | "sparse", bytes: number): void {
    this.#state = state;
    this.#wanted = bytes;
    if (bytes === 0) this.#next();
  }

  #header(block: Buffer): void {
    const found = readHeader(block, this.#extension);
    if (found === undefined) {
      this.#state = "end";
      return;
    }
    const { flag, member } = found;
    this.#flag = flag;
    if (!isMember(flag)) {
      // Its size is in its own header: what was said before is about the member after it.
      const bytes = readHeader(block, noExtension())?.member.storedBytes ?? 0;
      if (bytes > EXTENSION_BYTES_MAX) throw badLayer("it has an extended header that is too large");
      this.#afterExtension = flag !== "g";
      this.#isExtended = true;
      this.#padding = paddingOf(bytes);
      return this.#expect("extension", bytes);
    }
    this.#afterExtension = false;
    if (this.#isExtended) this.#extension = noExtension();
    this.#isExtended = false;
    this.#padding = paddingOf(member.storedBytes);
    this.#open = member;
    if (flag !== "S") return this.#begin(member);
    this.#pieces = member.sparse.map(([key, value]) => [key, value]);
    this.#sparseBlocks = 0;
    if (hasSparseBlock(block, true)) return this.#expect("sparse", BLOCK_BYTES);
    this.#begin({ ...member, sparse: joinPieces(this.#pieces) });
  }

  #sparse(block: Buffer): void {
    if (this.#open === undefined) return;
    this.#sparseBlocks += 1;
    if (this.#sparseBlocks > SPARSE_BLOCKS_MAX) throw badLayer("it has a sparse file of too many pieces");
    this.#pieces.push(...readSparseBlock(block));
    if (hasSparseBlock(block, false)) return this.#expect("sparse", BLOCK_BYTES);
    this.#begin({ ...this.#open, sparse: joinPieces(this.#pieces) });
  }

  #begin(member: TarMember): void {
    this.#sink.member(member);
    this.#expect("data", member.storedBytes);
  }

  #extend(body: Buffer): void {
    const name = (): string => {
      const end = body.indexOf(0);
      return body.toString("latin1", 0, end < 0 ? body.length : end);
    };
    switch (this.#flag) {
      case "x":
      case "X":
        return readPax(body, this.#extension);
      case "L":
        this.#extension.path = name();
        return;
      case "K":
        this.#extension.link = name();
        return;
      default:
        // "g", for all members that follow: git writes its commit there. Other engines pass it over too.
        return;
    }
  }
}

const paddingOf = (bytes: number): number => (BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES;

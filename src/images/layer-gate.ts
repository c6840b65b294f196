import { LayerTree, partsOf, type TreeNode } from "./layer-tree.ts";
import { badLayer, NO_PIECES, NO_XATTRS, type TarMember } from "./tar-member.ts";
import { TarReader, type TarSink } from "./tar-reader.ts";
import { ARCHIVE_END, padding, writeHeader } from "./tar-writer.ts";
import { markerOf } from "./whiteouts.ts";

export type LayerLimits = {
  /** Bytes of the uncompressed archive. */
  readonly bytesMax: number;
  /** Entries, whether they are unpacked or not. */
  readonly entriesMax: number;
  /** User and group ids that containers have here are below this. */
  readonly idsMax: number;
};

/** A layer that is not whole by itself: what it takes from the layers below it. Paths are bytes as latin1 text, without links on their way. */
export type LayerNeeds = {
  /** Folders that the archive puts something into without naming them: they stay as they are below. */
  readonly implied: readonly string[];
  /** Hard links to files of lower layers. */
  readonly links: readonly { readonly path: string; readonly target: string }[];
  /** Nothing of lower layers is seen any more. */
  readonly hidesAll: boolean;
  /** An archive (bytes as latin1 text) of the folders whose times these links will have changed; empty for none. */
  readonly touched: string;
};

/** A folder, with all that is in it, that something else takes the place of: it has to go before what follows is written. */
type Removal = { readonly remove: string };
export type Admitted = Buffer | Removal;

export type LayerFindings = {
  readonly bytes: number;
  readonly entries: number;
  /** Where nothing of lower layers is to be seen, and nothing of this one stands. */
  readonly whiteouts: readonly string[];
  /** Folders that hide those of lower layers. */
  readonly opaque: readonly string[];
  /** An archive of the folders whose times whiteouts will have changed; empty for none. */
  readonly touched: Buffer;
  readonly needs: LayerNeeds | undefined;
};

/** What one program of a host may give a file; the rest (trusted.overlay.* above all) is between the kernel and the host. */
const ATTRIBUTES = /^(user\..*|security\.capability|system\.posix_acl_(access|default))$/;
/** Each costs a program; no tool makes layers with any. */
const REMOVALS_MAX = 16;
const IMPLIED_MODE = 0o755;

/**
 * Between a layer's archive, of which nothing is trusted, and the program that writes its files. What goes on is written
 * anew: relative paths without `..` and without links on their way; symbolic links last of all, so that there are none while
 * files are written; no devices, no markers, no attributes but a file's own. So nothing depends on how that program reads
 * a hostile archive. What the markers mean comes out at the end. Throws CcError IMAGE_PULL_FAILED.
 */
export class LayerGate {
  readonly #limits: LayerLimits;
  readonly #reader: TarReader;
  readonly #tree: LayerTree;
  readonly #hidden = new Set<string>();
  readonly #opaque = new Set<string>();
  /** Hard links whose target has not been seen, or is a symbolic link. */
  readonly #lateLinks: TarMember[] = [];
  #out: Admitted[] = [];
  #removals = 0;
  #bytes = 0;
  #entries = 0;
  #writing: TarMember | undefined;
  #impliedTime = "0";

  constructor(limits: LayerLimits) {
    this.#limits = limits;
    this.#tree = new LayerTree((path) => {
      const folder = impliedFolder(path, this.#impliedTime);
      this.#write(folder);
      return folder;
    });
    const sink: TarSink = {
      member: (member) => this.#member(member),
      data: (piece) => {
        if (this.#writing !== undefined) this.#out.push(piece);
      },
      memberEnd: () => {
        if (this.#writing !== undefined) this.#out.push(padding(this.#writing.storedBytes));
        this.#writing = undefined;
      },
    };
    this.#reader = new TarReader(sink);
  }

  /** Takes the archive's next bytes, gives what goes on; good as long as `chunk` is not changed. */
  push(chunk: Buffer): readonly Admitted[] {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#limits.bytesMax) throw badLayer(`the image has more than ${this.#limits.bytesMax} bytes once it is unpacked`);
    this.#reader.push(chunk);
    return this.#taken();
  }

  /** `rest` is the end of what goes on; the findings do not wait for it. */
  end(): { readonly rest: Iterable<Buffer>; readonly findings: LayerFindings } {
    this.#reader.end();
    const { own, below } = this.#sortLateLinks();
    return { rest: this.#rest(own), findings: this.#findings(below) };
  }

  *#rest(links: readonly TarMember[]): Generator<Buffer> {
    for (const { node } of this.#tree.walk()) if (node.symlink !== undefined) yield* writeHeader(node.symlink);
    for (const link of links) yield* writeHeader(link);
    // Once more: their times were changed by what was put into them.
    for (const { node } of this.#tree.walk()) if (node.entry !== undefined) yield* writeHeader({ ...node.entry, xattrs: NO_XATTRS });
    yield ARCHIVE_END;
  }

  #taken(): readonly Admitted[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }

  #write(member: TarMember): void {
    this.#out.push(...writeHeader(member));
  }

  #member(raw: TarMember): void {
    this.#entries += 1;
    if (this.#entries > this.#limits.entriesMax) throw badLayer(`the image has more than ${this.#limits.entriesMax} files`);
    const named = partsOf(raw.path);
    const name = named[named.length - 1];
    if (name === undefined) return this.#root(raw);
    // Below a marker lies nothing that belongs to the image.
    if (named.slice(0, -1).some((part) => markerOf(part).marks !== "nothing")) return;
    const marker = markerOf(name);
    if (marker.marks === "rubbish" || raw.kind === "char" || raw.kind === "block") return;
    this.#impliedTime = raw.mtime;
    const parent = this.#tree.parentOf(named);
    const at = [...parent.parts, name].join("/");
    if (marker.marks === "hidden") return void this.#hidden.add([...parent.parts, marker.name].join("/"));
    if (marker.marks === "opaque") return void this.#opaque.add(parent.parts.join("/"));
    this.#checkOwner(raw);
    const member = { ...raw, path: at, xattrs: attributesOf(raw) };
    if (member.kind === "hardlink") return this.#hardlink(member, name, parent.node);
    this.#put(parent.node, name, member);
    // Links come at the end.
    if (member.kind === "symlink") return;
    this.#write(member);
    this.#writing = member;
  }

  #root(raw: TarMember): void {
    if (raw.kind !== "dir") throw badLayer("it has an entry in place of the image's root");
    this.#checkOwner(raw);
    const member = { ...raw, path: ".", xattrs: attributesOf(raw) };
    this.#tree.root.entry = member;
    this.#write(member);
  }

  #put(parent: TreeNode, name: string, member: TarMember): void {
    if (member.kind !== "dir" && parent.children?.get(name)?.children !== undefined) {
      this.#removals += 1;
      if (this.#removals > REMOVALS_MAX) throw badLayer("it replaces folders again and again");
      this.#out.push({ remove: member.path });
    }
    this.#tree.put(parent, name, member);
  }

  #checkOwner({ uid, gid, path }: TarMember): void {
    const { idsMax } = this.#limits;
    if (uid >= idsMax || gid >= idsMax)
      throw badLayer(`${path} belongs to user ${uid} and group ${gid}, and containers have the ids below ${idsMax} here; build the image with smaller ones`);
  }

  #hardlink(raw: TarMember, name: string, parent: TreeNode): void {
    const target = partsOf(raw.link);
    if (target.length === 0) throw badLayer(`${raw.path} is a hard link to a folder`);
    const found = this.#lookUp(target);
    if (found.node?.children !== undefined) throw badLayer(`${raw.path} is a hard link to a folder`);
    const member = { ...raw, link: found.path, xattrs: NO_XATTRS };
    // A link to itself changes nothing.
    if (member.link === member.path) return;
    this.#put(parent, name, member);
    if (found.node === undefined || found.node.symlink !== undefined) this.#lateLinks.push(member);
    else this.#write(member);
  }

  /** Where a hard link leads; what is not in this layer is looked for below it, at the path as it stands. */
  #lookUp(target: readonly string[]): { readonly path: string; readonly node: TreeNode | undefined } {
    const parent = this.#tree.existingParentOf(target);
    const path = [...parent.parts, target[target.length - 1] ?? ""].join("/");
    return { path, node: parent.node?.children?.get(target[target.length - 1] ?? "") };
  }

  /** Hard links to symbolic links or to what came after them, and those that lead to lower layers. */
  #sortLateLinks(): { readonly own: readonly TarMember[]; readonly below: LayerNeeds["links"] } {
    const own: TarMember[] = [];
    const below: { path: string; target: string }[] = [];
    for (const link of this.#lateLinks) {
      // Replaced since.
      const here = this.#tree.find(link.path.split("/"));
      if (here === undefined || here.children !== undefined || here.symlink !== undefined) continue;
      const target = this.#tree.find(link.link.split("/"));
      if (target?.children !== undefined) throw badLayer(`${link.path} is a hard link to a folder`);
      if (target === undefined) below.push({ path: link.path, target: link.link });
      else own.push(link);
    }
    return { own, below };
  }

  #findings(links: LayerNeeds["links"]): LayerFindings {
    const whiteouts: string[] = [];
    const opaque = new Set<string>();
    for (const path of this.#opaque) if (path !== "" && this.#tree.find(path.split("/"))?.children !== undefined) opaque.add(path);
    for (const path of this.#hidden) {
      const { parent, same } = this.#beside(path);
      // A marker speaks of lower layers only: what this layer has under the name stays.
      if (same?.children !== undefined) opaque.add(path);
      // Where something else came in place of its folder, that hides all that was there.
      if (parent?.children !== undefined && same === undefined) whiteouts.push(path);
    }
    const hidesAll = this.#opaque.has("");
    const implied = hidesAll ? [] : this.#impliedFolders(opaque);
    const touched = this.#timesOf(links.flatMap(({ path, target }) => [path, target])).toString("latin1");
    return {
      bytes: this.#bytes,
      entries: this.#entries,
      whiteouts,
      opaque: [...opaque],
      touched: this.#timesOf(whiteouts),
      needs: implied.length + links.length === 0 && !hidesAll ? undefined : { implied, links, hidesAll, touched },
    };
  }

  #beside(path: string): { readonly parent: TreeNode | undefined; readonly same: TreeNode | undefined } {
    const parts = path.split("/");
    const parent = this.#tree.find(parts.slice(0, -1));
    return { parent, same: parent?.children?.get(parts[parts.length - 1] ?? "") };
  }

  /** Headers of all folders on the way to these paths. */
  #timesOf(paths: readonly string[]): Buffer {
    const entries = new Map<string, TarMember>();
    for (const path of paths) {
      const parts = path.split("/");
      for (let depth = parts.length - 1; depth >= 0; depth -= 1) {
        const entry = this.#tree.find(parts.slice(0, depth))?.entry;
        if (entry === undefined) continue;
        if (entries.has(entry.path)) break;
        entries.set(entry.path, entry);
      }
    }
    if (entries.size === 0) return Buffer.alloc(0);
    return Buffer.concat([...[...entries.values()].flatMap((entry) => writeHeader({ ...entry, xattrs: NO_XATTRS })), ARCHIVE_END]);
  }

  /** But for those of which lower layers show nothing. */
  #impliedFolders(opaque: ReadonlySet<string>): readonly string[] {
    const implied: string[] = [];
    const covered = new Set<string>(opaque);
    for (const { path, node } of this.#tree.walk()) {
      if (node.children === undefined) continue;
      const slash = path.lastIndexOf("/");
      if (slash >= 0 && covered.has(path.slice(0, slash))) covered.add(path);
      if (node.implied && !covered.has(path)) implied.push(path);
    }
    return implied;
  }
}

function impliedFolder(path: string, mtime: string): TarMember {
  return { kind: "dir", path, link: "", mode: IMPLIED_MODE, uid: 0, gid: 0, mtime, storedBytes: 0, xattrs: NO_XATTRS, sparse: NO_PIECES };
}

function attributesOf({ xattrs, kind }: TarMember): ReadonlyMap<string, string> {
  if (xattrs.size === 0) return xattrs;
  // The kernel keeps attributes of users only on files and folders.
  const own = [...xattrs].filter(([name]) => ATTRIBUTES.test(name) && (kind === "file" || kind === "dir"));
  return own.length === 0 ? NO_XATTRS : new Map(own);
}

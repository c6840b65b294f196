import { badLayer, type TarMember } from "./tar-member.ts";
import { markerOf } from "./whiteouts.ts";

/** A folder of the layer, or what stands for anything that is none. */
export type TreeNode = {
  /** Only of folders. */
  readonly children: Children | undefined;
  /** Of a symbolic link: its entry, which is written last. */
  readonly symlink: TarMember | undefined;
  /** Of a folder: its entry, or the one made up for it. Undefined at the root while the archive does not name it. */
  entry: TarMember | undefined;
  /** Of a folder that the archive has not named, only something inside it. */
  implied: boolean;
};

/** The names in a folder. Most folders of an archive have few or none. */
class Children {
  #names: Map<string, TreeNode> | undefined;

  get(name: string): TreeNode | undefined {
    return this.#names?.get(name);
  }

  set(name: string, node: TreeNode): void {
    this.#names ??= new Map();
    this.#names.set(name, node);
  }

  [Symbol.iterator](): Iterator<[string, TreeNode]> {
    return (this.#names ?? NOTHING)[Symbol.iterator]();
  }
}

const NOTHING: ReadonlyMap<string, TreeNode> = new Map();
const NAME_BYTES_MAX = 255;
const PATH_BYTES_MAX = 4_096 - 256;
/** As many as the kernel follows. */
const LINKS_MAX = 40;
const FILE: TreeNode = { children: undefined, symlink: undefined, entry: undefined, implied: false };
const folder = (entry: TarMember | undefined, implied: boolean): TreeNode => ({ children: new Children(), symlink: undefined, entry, implied });

/** The parts of a path below the layer's root; `a/../b` is `b`, as in other engines, whatever `a` is. */
export function partsOf(path: string): string[] {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) throw badLayer(`it has an entry that leads out of the image: ${path}`);
  }
  if (path.length > PATH_BYTES_MAX || parts.some((part) => part.length > NAME_BYTES_MAX)) throw badLayer(`it has a name that is too long: ${path}`);
  return parts;
}

/**
 * What a layer holds so far, name by name: where a path of the archive really leads once the links in it are followed
 * (as inside the image, never out of it), and what is there. No file is touched for it.
 */
export class LayerTree {
  readonly root: TreeNode = folder(undefined, false);
  /** Makes up the entry of a folder that has to be there and that the archive has not named yet. */
  readonly #imply: (path: string) => TarMember;

  constructor(imply: (path: string) => TarMember) {
    this.#imply = imply;
  }

  /** The folder of these parts without links on the way; what is missing is made. */
  parentOf(parts: readonly string[]): { readonly node: TreeNode; readonly parts: readonly string[] } {
    const { node, parts: real } = this.#follow(parts, (here, path) => {
      const made = folder(this.#imply(path.join("/")), true);
      here.children?.set(path[path.length - 1] ?? "", made);
      return made;
    });
    if (node === undefined) throw badLayer(`it has an entry below a file: ${parts.join("/")}`);
    return { node, parts: real };
  }

  /** The same without making anything; without a node where it is not in this layer. */
  existingParentOf(parts: readonly string[]): { readonly node: TreeNode | undefined; readonly parts: readonly string[] } {
    return this.#follow(parts, () => undefined);
  }

  #follow(
    parts: readonly string[],
    missing: (here: TreeNode, path: readonly string[]) => TreeNode | undefined,
  ): { readonly node: TreeNode | undefined; readonly parts: readonly string[] } {
    const waiting = parts.slice(0, -1).reverse();
    const real: string[] = [];
    const nodes: (TreeNode | undefined)[] = [this.root];
    let links = 0;
    for (let part = waiting.pop(); part !== undefined; part = waiting.pop()) {
      if (part === "" || part === ".") continue;
      if (part === "..") {
        // At the root, as in a chroot, it leads nowhere.
        if (real.pop() !== undefined) nodes.pop();
        continue;
      }
      const here = nodes[nodes.length - 1];
      const next = here?.children?.get(part);
      if (next?.symlink !== undefined) {
        links += 1;
        if (links > LINKS_MAX) throw badLayer(`it has an entry behind too many links: ${parts.join("/")}`);
        const target = next.symlink.link;
        if (target.startsWith("/")) {
          real.length = 0;
          nodes.length = 1;
        }
        waiting.push(...target.split("/").reverse());
        continue;
      }
      if (markerOf(part).marks !== "nothing") throw badLayer(`it has an entry behind a marker: ${parts.join("/")}`);
      real.push(part);
      if (next !== undefined && next.children === undefined) return { node: undefined, parts: real };
      nodes.push(next ?? (here === undefined ? undefined : missing(here, real)));
    }
    return { node: nodes[nodes.length - 1], parts: real };
  }

  /** Notes an entry, which replaces what has its name; only a folder keeps what is in the folder there. */
  put(parent: TreeNode, name: string, entry: TarMember): void {
    const old = parent.children?.get(name);
    if (entry.kind === "dir" && old?.children !== undefined) {
      old.entry = entry;
      old.implied = false;
    } else if (entry.kind === "dir") parent.children?.set(name, folder(entry, false));
    else if (entry.kind === "symlink") parent.children?.set(name, { ...FILE, symlink: entry });
    else parent.children?.set(name, FILE);
  }

  /** What is at a path without links on the way. */
  find(parts: readonly string[]): TreeNode | undefined {
    let node: TreeNode | undefined = this.root;
    for (const part of parts) node = node?.children?.get(part);
    return node;
  }

  /** All nodes with their paths, parents first. */
  *walk(): Generator<{ readonly path: string; readonly node: TreeNode }> {
    const waiting: { path: string; node: TreeNode }[] = [{ path: "", node: this.root }];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      yield next;
      for (const [name, node] of next.node.children ?? []) {
        if (node !== FILE) waiting.push({ path: next.path === "" ? name : `${next.path}/${name}`, node });
      }
    }
  }
}

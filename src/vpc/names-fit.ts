import type { NameTable } from "./names.ts";

/** Of one VPC, some 20,000 containers with a few labels each; of all VPCs of a host together. The server's heap has room for both. */
export const TABLE_BYTES_MAX = 4 * 1024 * 1024;
export const TABLES_BYTES_MAX = 64 * 1024 * 1024;
/** What is sent in one piece: a few milliseconds of the peer's loop. */
const PART_BYTES_MAX = 128 * 1024;

/** What a container takes beside its texts. */
const CONTAINER_BYTES = 64;
const LABEL_BYTES = 16;

/** A piece of a table. */
export type TablePart = {
  /** With the containers of this piece only. */
  readonly table: NameTable;
  readonly isFirst: boolean;
  readonly isLast: boolean;
  /** Of the table so far. */
  readonly bytes: number;
  /** Known with the last piece: the youngest, who have no name because the table would take more than is allowed. */
  readonly leftOut: number;
};

/** The table in pieces. Each is made when it is asked for, so that whoever sends them can do something else in between. */
export function* tableParts(table: NameTable, bytesMax: number): Generator<TablePart, void> {
  let bytes = 0;
  let next = 0;
  for (let isFirst = true; ; isFirst = false) {
    const begin = next;
    let part = 0;
    let isFull = false;
    for (; next < table.containers.length && part < PART_BYTES_MAX; next += 1) {
      const more = bytesOf(table.containers[next]);
      isFull = bytes + part + more > bytesMax;
      if (isFull) break;
      part += more;
    }
    bytes += part;
    const isLast = isFull || next === table.containers.length;
    yield {
      table: { ...table, containers: table.containers.slice(begin, next) },
      isFirst,
      isLast,
      bytes,
      leftOut: isLast ? table.containers.length - next : 0,
    };
    if (isLast) return;
  }
}

function bytesOf(container: NameTable["containers"][number] | undefined): number {
  if (container === undefined) return 0;
  const { id, name, labels } = container;
  let bytes = CONTAINER_BYTES + id.length + name.length;
  for (const key of Object.keys(labels)) bytes += LABEL_BYTES + key.length + (labels[key]?.length ?? 0);
  return bytes;
}

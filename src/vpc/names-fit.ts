import type { NameTable } from "./names.ts";

/** Of one VPC, some 10,000 containers with a few labels each; of all VPCs of a host together. The server's heap has room for both. */
export const TABLE_BYTES_MAX = 4 * 1024 * 1024;
export const TABLES_BYTES_MAX = 64 * 1024 * 1024;

/** What a container takes beside its texts. */
const CONTAINER_BYTES = 64;
const LABEL_BYTES = 16;

export type FittedTable = { readonly table: NameTable; readonly bytes: number /** Containers without a name now. */; readonly leftOut: number };

/** The table without its youngest containers where it would take more than `bytesMax`. */
export function fitTable(table: NameTable, bytesMax: number): FittedTable {
  let bytes = 0;
  let count = 0;
  for (const { id, name, labels } of table.containers) {
    let more = CONTAINER_BYTES + id.length + name.length;
    for (const [key, value] of Object.entries(labels)) more += LABEL_BYTES + key.length + value.length;
    if (bytes + more > bytesMax) break;
    bytes += more;
    count += 1;
  }
  const leftOut = table.containers.length - count;
  return { table: leftOut === 0 ? table : { ...table, containers: table.containers.slice(0, count) }, bytes, leftOut };
}

import { ok, type Result, refuse } from "../base/index.ts";

/** A user as written: the parts of `name`, `uid`, `name:group`, `uid:gid`. */
export type UserText = { readonly user: string; readonly group: string };

/** Who the process runs as, inside the container. `home` as /etc/passwd has it, `/` for who is not in it. */
export type ResolvedUser = { readonly uid: number; readonly gid: number; readonly additionalGids: readonly number[]; readonly home: string };

// What useradd accepts and a little more: capitals, dots (as in directory services) and a trailing $.
const PART = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,255}\$?$/;
const NUMBER = /^\d{1,10}$/;
/** Ids above are no ids (uid_t is 32 bits, the last is "nobody at all"). */
const ID_MAX = 0xfffffffe;
/** Lines of a hostile image's files that are looked at. */
const LINES_MAX = 100_000;

/** Reads the syntax only; empty text is the image's own user. */
export function parseUser(text: string): Result<UserText> {
  const [user = "", group = "", ...more] = text.split(":");
  const wrong = more.length > 0 || (text !== "" && !PART.test(user)) || (text.includes(":") && !PART.test(group));
  if (wrong) return refuse("BAD_REQUEST", `"${text.replace(/[^\x20-\x7e]/g, "?").slice(0, 64)}" is not a user; use a name, a number, name:group or uid:gid`);
  return ok({ user, group });
}

type PasswdLine = { readonly name: string; readonly uid: number; readonly gid: number; readonly home: string };
type GroupLine = { readonly name: string; readonly gid: number; readonly members: readonly string[] };

/**
 * The user by the image's own /etc/passwd and /etc/group (their texts; empty where missing), as Docker resolves it: a
 * name must be in the files, a number need not; the group defaults to the user's own, else 0; further groups are
 * those that list the user, unless a group was asked for by name or number. `idCount`: ids that the user namespace has.
 */
export function resolveUser(text: string, passwd: string, group: string, idCount: number): Result<ResolvedUser> {
  const parsed = parseUser(text);
  if (!parsed.ok) return parsed;
  const wanted = parsed.value.user === "" ? "0" : parsed.value.user;
  const accounts = parsePasswd(passwd);
  const groups = parseGroup(group);
  const byName = accounts.find((line) => line.name === wanted);
  const number = NUMBER.test(wanted) ? Number(wanted) : undefined;
  const account = byName ?? accounts.find((line) => line.uid === number);
  const uid = account?.uid ?? number;
  if (uid === undefined) {
    return refuse("BAD_REQUEST", `the image knows no user "${wanted}"; give a number, or a name that is in its /etc/passwd`);
  }

  let gid = account?.gid ?? 0;
  let additionalGids: number[] = [];
  const wantedGroup = parsed.value.group;
  if (wantedGroup === "") {
    const listed = account === undefined ? [] : groups.filter((line) => line.members.includes(account.name)).map((line) => line.gid);
    additionalGids = [...new Set(listed)].filter((id) => id < idCount);
  } else {
    const named = groups.find((line) => line.name === wantedGroup)?.gid ?? (NUMBER.test(wantedGroup) ? Number(wantedGroup) : undefined);
    if (named === undefined) return refuse("BAD_REQUEST", `the image knows no group "${wantedGroup}"; give a number, or a name that is in its /etc/group`);
    gid = named;
  }
  if (uid >= idCount || gid >= idCount) {
    return refuse("BAD_REQUEST", `user ${uid}:${gid} is outside the ids that containers have on this mesh; use numbers below ${idCount}`);
  }
  return ok({ uid, gid, additionalGids, home: account?.home.startsWith("/") === true ? account.home : "/" });
}

/** Lines that are not in the form are passed over, as the C library does. */
function parsePasswd(text: string): readonly PasswdLine[] {
  return fieldsOf(text).flatMap(([name = "", , uid = "", gid = "", , home = ""]) =>
    name !== "" && isId(uid) && isId(gid) ? [{ name, uid: Number(uid), gid: Number(gid), home }] : [],
  );
}

function parseGroup(text: string): readonly GroupLine[] {
  return fieldsOf(text).flatMap(([name = "", , gid = "", members = ""]) =>
    name !== "" && isId(gid) ? [{ name, gid: Number(gid), members: members.split(",").filter((member) => member !== "") }] : [],
  );
}

function isId(text: string): boolean {
  return NUMBER.test(text) && Number(text) <= ID_MAX;
}

function fieldsOf(text: string): string[][] {
  return text
    .split("\n", LINES_MAX)
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.trim().split(":"));
}

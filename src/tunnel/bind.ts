import { isIP, isIPv6 } from "node:net";
import { ok, type Result, refuse } from "../base/index.ts";

/** Where to listen; port 0 lets the system choose one. */
export type Bind = { readonly address: string; readonly port: number };

const BIND_ADDRESS_DEFAULT = "127.0.0.1";
const SHAPE = 'give [address:]port, for example 8080, 127.0.0.1:8080 or "[::1]:8080"; port 0 picks a free one';

/** `8080`, `:0`, `127.0.0.1:8080`, `localhost:8080`, `[::1]:8080`. Without an address: the loopback's, so that nobody else reaches it. */
export function parseBind(text: string): Result<Bind> {
  const match = /^(?:(?<brackets>\[[^\]]*\])|(?<plain>[^:[\]]*))(?::(?<port>\d{1,5}))$|^(?<only>\d{1,5})$/.exec(text.trim());
  const { brackets, plain, port, only } = match?.groups ?? {};
  const number = Number(only ?? port ?? Number.NaN);
  if (match === null || !(number <= 65_535)) return refuse("BAD_USAGE", `"${text}" is no address to listen on; ${SHAPE}`);
  if (brackets !== undefined) {
    const address = brackets.slice(1, -1);
    return isIPv6(address) ? ok({ address, port: number }) : refuse("BAD_USAGE", `"${address}" is no IPv6 address; ${SHAPE}`);
  }
  const address = plain === undefined || plain === "" ? BIND_ADDRESS_DEFAULT : plain;
  if (address !== "localhost" && isIP(address) !== 4) return refuse("BAD_USAGE", `"${address}" is no IP address of this machine; ${SHAPE}`);
  return ok({ address, port: number });
}

/** As it is typed into other programs: `127.0.0.1:8080`, `[::1]:8080`. */
export function formatAddress({ address, port }: Bind): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

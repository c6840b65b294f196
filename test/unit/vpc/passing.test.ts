import t from "tap";
import { formatIp } from "../../../src/base/index.ts";
import { passingAddress } from "../../../src/vpc/index.ts";
import { ip } from "./overlay-fixture.ts";

t.test("a host passes ports on with an address that nobody else has", (t) => {
  t.equal(formatIp(passingAddress(ip("172.31.0.1"))), "252.31.0.1");
  t.equal(formatIp(passingAddress(ip("10.0.0.5"))), "250.0.0.5");
  t.equal(formatIp(passingAddress(ip("192.168.1.20"))), "240.168.1.20");
  t.equal(formatIp(passingAddress(ip("fd00::12:3456"))), "240.18.52.86", "a tunnel's");
  t.end();
});

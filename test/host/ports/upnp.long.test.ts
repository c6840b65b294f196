import { describeMappings } from "./mapping-contract.ts";

describeMappings("upnp");

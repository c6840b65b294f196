/**
 * A program of its own, one for each layer that a pull works on at the same time: it reads what nobody trusts, and hashing
 * and copying would keep the peer's loop from everything else. Layers that have to be seen stacked are mounted in its own mount namespace, so a kill leaves
 * no mount. The build puts it beside the peer's bundle, where `unpacker.ts` looks for it.
 */
import { answerParent, createCommandRunner } from "../../host/index.ts";
import { bindLayer } from "./bind-layer.ts";
import { unpackLayer } from "./unpack-layer.ts";
import type { UnpackerTask } from "./unpacker.ts";

const commands = createCommandRunner();

answerParent((question) => {
  const { unpack, bind } = question as UnpackerTask;
  return bind === undefined ? unpackLayer(unpack, commands) : bindLayer(bind, commands);
});

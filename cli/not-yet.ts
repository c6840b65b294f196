import { CcError } from "../src/base/index.ts";
import { CloudCommand } from "./cloud-command.ts";

/** A command whose words and flags stand, but whose work comes with a later version: it says so and changes nothing. */
export abstract class NotYetCommand extends CloudCommand {
  /** Says so after the words were checked, so that wrong usage is told apart. */
  protected notYet(words: string): never {
    throw new CcError("NOT_YET", `cc ${words} is not there yet; cc --help lists what is`);
  }
}

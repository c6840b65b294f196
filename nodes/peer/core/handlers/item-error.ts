/** Why one of several things asked for was not done. */
export type ItemErrorInit = { readonly item: string; readonly code: string; readonly message: string };

export function withNotAsked(error: ItemErrorInit, notAsked: readonly string[]): ItemErrorInit {
  return notAsked.length === 0 || error.code !== "NOT_FOUND"
    ? error
    : { ...error, message: `${error.message}; these hosts could not be asked: ${notAsked.join(", ")}` };
}

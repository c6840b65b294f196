/**
 * What a program that we run sees of our own environment. Everything else stays here: the peer may have been started
 * with secrets in its environment, and messages are parsed, so they must come in one language.
 */
const PASSED_ON = ["PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];
const PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export function commandEnvironment(own: Readonly<Record<string, string | undefined>>, extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const environment: Record<string, string> = { PATH: PATH_DEFAULT };
  for (const name of PASSED_ON) {
    const value = own[name];
    if (value !== undefined && value !== "") environment[name] = value;
  }
  return { ...environment, LC_ALL: "C.UTF-8", ...extra };
}

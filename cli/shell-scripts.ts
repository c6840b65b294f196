export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * What makes a shell ask this program for completions. `cc` may be the machine's C compiler: it is completed only where the
 * shell's own `cc` is the one in `folder`. Where nothing is offered, the shell's own completion of files takes over.
 */
export function shellScript(shell: Shell, folder: string): string {
  const program = quote(`${folder}/ccloud`);
  const ours = quote(`${folder}/cc`);
  switch (shell) {
    case "bash":
      return `# Completion of container-cloud's commands. Put this line into ~/.bashrc:
#   eval "$(${program} autocomplete bash)"
_ccloud_complete() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("$line")
  done < <(${program} autocomplete --complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _ccloud_complete ccloud
[ "$(command -v cc)" -ef ${ours} ] && complete -o default -F _ccloud_complete cc
:
`;
    case "zsh":
      return `# Completion of container-cloud's commands. Put this line into ~/.zshrc:
#   eval "$(${program} autocomplete zsh)"
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_ccloud_complete() {
  local -a found
  found=("\${(@f)$(${program} autocomplete --complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  found=(\${found:#})
  if (( $#found )); then compadd -- "\${found[@]}"; else _files; fi
}
compdef _ccloud_complete ccloud
[[ "$(whence -p cc)" -ef ${ours} ]] && compdef _ccloud_complete cc
:
`;
    case "fish":
      return `# Completion of container-cloud's commands. Put this line into ~/.config/fish/config.fish:
#   ${program} autocomplete fish | source
function __ccloud_complete
  set -l before (commandline -opc)
  set -l found (${program} autocomplete --complete -- $before[2..-1] (commandline -ct | string collect --allow-empty) 2>/dev/null)
  if count $found >/dev/null
    printf '%s\\n' $found
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c ccloud -f -a '(__ccloud_complete)'
if test (realpath (command -s cc) 2>/dev/null; or echo none) = ${ours}
  complete -c cc -f -a '(__ccloud_complete)'
end
`;
  }
}

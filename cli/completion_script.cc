// The scripts that make a shell ask this program. Each calls `PROGRAM __complete WORDS...`: lines
// of word, tab, description, and ":files" where names of files may stand, too.
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cli/completion.h"
#include "common/status.h"

namespace headlong {
namespace {

// bash splits words at ':' and '=' and replaces what stands behind the last of them.
constexpr char kBash[] =
    R"(# bash completion of headlong; in ~/.bashrc: source <(headlong completion bash)
_headlong() {
  local line="${COMP_LINE:0:COMP_POINT}" words=() candidate cut=""
  read -ra words <<<"$line"
  [[ $line != *[[:space:]] ]] || words+=("")
  local current="${words[-1]}"
  [[ $current != *[:=]* ]] || cut="${current%"${current##*[:=]}"}"
  COMPREPLY=()
  while IFS=$'\t' read -r candidate _; do
    if [[ $candidate == :files ]]; then
      compopt -o default
    else
      COMPREPLY+=("${candidate#"$cut"}")
    fi
  done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
}
complete -F _headlong headlong
)";

constexpr char kZsh[] = R"(#compdef headlong
# zsh completion of headlong; in ~/.zshrc, after compinit: source <(headlong completion zsh)
_headlong() {
  local -a candidates
  local word description files=0
  while IFS=$'\t' read -r word description; do
    if [[ $word == :files ]]; then
      files=1
    else
      candidates+=("${word//:/\\:}${description:+:$description}")
    fi
  done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  (( ${#candidates} )) && _describe -V headlong candidates
  (( files )) && _files
}
if [[ ${funcstack[1]} == _headlong ]]; then
  _headlong "$@"
else
  compdef _headlong headlong
fi
)";

constexpr char kFish[] =
    R"(# fish completion of headlong; save as ~/.config/fish/completions/headlong.fish
function __headlong_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    if test "$line" = ":files"
      __fish_complete_path "$current"
    else
      echo $line
    end
  end
end
complete -c headlong -f -a '(__headlong_complete)'
)";

}  // namespace

absl::StatusOr<std::string> CompletionScript(std::string_view shell) {
  if (shell == "bash") return std::string(kBash);
  if (shell == "zsh") return std::string(kZsh);
  if (shell == "fish") return std::string(kFish);
  return absl::InvalidArgumentError(
      absl::StrCat("there is no completion for ", Av(shell), "; bash, zsh and fish have one"));
}

}  // namespace headlong

#!/usr/bin/env bash
# What the scripts share: options, messages, clean-up, waiting. To be sourced, by a script that begins so:
#
#   #!/usr/bin/env bash
#   # usage: example [--count 8] [--quiet] [--kind small|large] [--bind PATH]... IMAGE [TARGET...]
#   #
#   # What it does, and what the options mean.
#   set -euo pipefail
#   . "$(dirname "$(readlink -f "$0")")/lib.bash"
#   count=8 quiet=no kind=small bind=() image='' targets=()
#   options "$@"
#
# The comment below the first line is what --help prints, and its line 'usage:' is the table of the options: one without a
# value is a flag, yes or no; a|b are the values that it may have; "..." makes a list. Words in capitals are the
# operands, in brackets one that may be missing. Each is put into the variable of its name, which holds the default.
# Options end at '--', and before a COMMAND... or ARGUMENT... With subcommands a line that begins with two blanks and
# the subcommand has its table, and what is done is in the function command_NAME (see dispatch).
# shellcheck disable=SC2034  # Who sources this uses the variables.

self=$(readlink -f "$0")
here=$(dirname "$self")
repository=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
build=$(realpath -ms "${RPIFLASH_BUILD:-$repository/build}")
bin=$(realpath -ms "${RPIFLASH_BIN:-$repository/.build/debug}")
# mkfs, sfdisk and the like are in sbin, which is not in every user's PATH.
PATH=$PATH:/usr/sbin:/sbin

# How it is called, what its messages begin with, the exit statuses of an error and of wrong usage.
help=$(sed -n '2,$ { /^#/!q; s/^# \{0,1\}//; p }' "$self")
called=${self##*/}
if [[ $help =~ usage:\ ([A-Za-z0-9/._-]+) ]]; then called=${BASH_REMATCH[1]}; fi
program=${called##*/}
failure=1 wrong_usage=64

usage() { printf '%s\n' "$help"; }
note() { echo "$program: $*" >&2; }
die() { note "error: $*"; exit "$failure"; }
bad_usage() { note "error: $*; see $called --help"; exit "$wrong_usage"; }
# fail_with FILE MESSAGE...: an error, below what FILE says of it.
fail_with() { cat "$1" >&2; shift; die "$@"; }

# need PROGRAM...
need() { local tool; for tool; do command -v "$tool" >/dev/null || die "$tool not found; run make deps"; done; }

# grammar: what the help says of the arguments of this script, or of its subcommand.
grammar() {
    local line start="usage: $called" found=no
    [ -z "${subcommand:-}" ] || start="  $subcommand"
    while IFS= read -r line; do
        if [[ "$line " = "$start "* ]]; then
            found=yes line=${line#"$start"} line=${line# }
        elif [[ $found = no || ! $line =~ ^\ +\[ ]]; then
            if [ $found = yes ]; then return; else continue; fi
        fi
        [[ $line =~ ^\ *(.*) ]]
        # Behind two blanks comes what it does.
        printf '%s ' "${BASH_REMATCH[1]%%  *}"
    done <<<"$help"
}

# options ARGUMENT...: put them into the script's variables. `inside` as the first is a script's call of itself, see
# run_inside. What is local here must not hide a variable of the caller's.
inside=no given=()
options() {
    local _text _word _ends=no _pattern='\[?(--[a-z][a-z-]*)( ("[^"]*"|[^] ]+))?\]?(\.\.\.)?'
    local -A _values=() _lists=()
    local -a _operands _words=() _behind=()
    _text=$(grammar)
    while [[ $_text =~ $_pattern ]]; do
        _values[${BASH_REMATCH[1]}]=${BASH_REMATCH[3]}
        _lists[${BASH_REMATCH[1]}]=${BASH_REMATCH[4]}
        _text=${_text/"${BASH_REMATCH[0]}"/}
    done
    read -ra _operands <<<"$_text"
    if [[ $_text != *' -- '* && $_text =~ (COMMAND|ARGUMENT)\.\.\. ]]; then _ends=yes; fi
    if [ "${1:-}" = inside ]; then inside=yes; shift; fi
    given=("$@")
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help) usage; exit 0 ;;
            --) shift; _behind=("$@"); break ;;
            --*)
                [ -n "${_values[$1]+known}" ] || bad_usage "unknown option $1"
                _word=${1#--} _word=${_word//-/_}
                if [ -z "${_values[$1]}" ]; then printf -v "$_word" yes; shift; continue; fi
                [ $# -ge 2 ] || bad_usage "$1 needs a value"
                [[ ${_values[$1]} != *\|* || "|${_values[$1]}|" = *"|$2|"* ]] ||
                    bad_usage "$1 '$2' is none of ${_values[$1]//|/, }"
                if [ -n "${_lists[$1]}" ]; then
                    declare -n _list=$_word
                    _list+=("$2")
                    unset -n _list
                else
                    printf -v "$_word" %s "$2"
                fi
                shift 2 ;;
            -?*) bad_usage "unknown option $1" ;;
            *)
                if [ $_ends = yes ]; then _words+=("$@"); break; fi
                _words+=("$1")
                shift ;;
        esac
    done
    if [[ " $_text " != *' -- '* ]]; then _words+=(${_behind[@]+"${_behind[@]}"}); fi
    for _text in ${_operands[@]+"${_operands[@]}"}; do
        if [ "$_text" = -- ]; then
            [ ${#_words[@]} -eq 0 ] || break
            _words=(${_behind[@]+"${_behind[@]}"})
            continue
        fi
        [[ $_text =~ ([A-Z]+)(\.[a-z]+)?(\.\.\.)?\]?$ ]]
        _word=${BASH_REMATCH[1],,}
        if [ ${#_words[@]} -eq 0 ]; then
            [[ $_text = \[*\] ]] || bad_usage "${subcommand:+$subcommand: }${_text%...} is missing"
        elif [ -n "${BASH_REMATCH[3]}" ]; then
            if [ "$_word" != command ]; then _word+=s; fi
            # shellcheck disable=SC2178
            declare -n _list=$_word
            _list=("${_words[@]}") _words=()
            unset -n _list
        else
            printf -v "$_word" %s "${_words[0]}"
            _words=("${_words[@]:1}")
        fi
    done
    [ ${#_words[@]} -eq 0 ] || bad_usage "${subcommand:+$subcommand: }unexpected argument '${_words[0]}'"
}

# dispatch SUBCOMMAND ARGUMENT...: call its function, command_NAME.
dispatch() {
    case "${1:-}" in
        -h | --help | help) usage; return ;;
        "") usage >&2; exit "$wrong_usage" ;;
    esac
    subcommand=$1
    declare -F "command_${1//-/_}" >/dev/null || bad_usage "unknown subcommand $1"
    "command_${1//-/_}" "${@:2}"
}

# whole OPTION MINIMUM MAXIMUM: its value is such a number; zeros in front, which would make it octal, go.
whole() {
    declare -n _value=${1//-/_}
    [[ $_value =~ ^[0-9]{1,18}$ && $((10#$_value)) -ge $2 && $((10#$_value)) -le $3 ]] ||
        bad_usage "--$1 '$_value' is not a whole number from $2 to $3"
    _value=$((10#$_value))
}

# at_exit COMMAND...: run when this shell ends, by itself or by a signal; what was said last comes first.
at_exit() {
    if [ "${cleaner:-}" != $BASHPID ]; then cleaner=$BASHPID cleanups=(); fi
    cleanups+=("$(printf '%q ' "$@")")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}
clean_up() {
    local status=$? index
    trap '' INT TERM HUP
    for ((index = ${#cleanups[@]} - 1; index >= 0; index--)); do eval "${cleanups[index]}" || true; done
    exit $status
}

# end_process PID: a child of this shell, ended and waited for. Nothing is done where it has been waited for already.
end_process() {
    if jobs -pr | grep -qx "$1" && kill "$1" 2>/dev/null; then wait "$1" 2>/dev/null || true; fi
}

# machine SECONDS LOG PROGRAM ARGUMENT...: QEMU in the background, as $qemu_pid: timeout's, which passes a signal on. It
# does not outlive this script.
machine() {
    timeout --kill-after=5 "$1" "${@:3}" </dev/null >"$2" 2>&1 &
    qemu_pid=$!
    at_exit end_process $qemu_pid
}

# work_folder PREFIX: sets work, a new folder that is removed in the end.
work_folder() {
    work=$(mktemp -d "$1.XXXXXX")
    at_exit rm -rf "$work"
}

# within SECONDS COMMAND...: until it succeeds; fails after that time.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# ended PID: whether that process has ended.
ended() { ! kill -0 "$1" 2>/dev/null; }

# lock FILE [SECONDS]: until this script ends, or unlock.
lock() {
    exec {lock_fd}>"$1"
    flock -w "${2:-900}" "$lock_fd" || die "another call has held $1 for $((${2:-900} / 60)) minutes"
}
unlock() { exec {lock_fd}>&-; }

# is_made FILE STAMP: FILE is there and was made from what STAMP stands for; made FILE STAMP says that it is so now.
is_made() { [[ -e $1 && "$(cat "$1.stamp" 2>/dev/null)" = "$2" ]]; }
made() { echo "$2" >"$1.stamp"; }

# timed COMMAND...: run it; sets seconds to what it took, with three digits behind the point.
timed() {
    local _begin=${EPOCHREALTIME/[.,]/} _status=0
    "$@" || _status=$?
    _begin=$(((${EPOCHREALTIME/[.,]/} - _begin) / 1000))
    printf -v seconds %d.%03d $((_begin / 1000)) $((_begin % 1000))
    return $_status
}

# partitions IMAGE: a line for each, START SIZE, in sectors.
partitions() { sfdisk --dump "$1" | sed -nE 's/.*start= *([0-9]+), size= *([0-9]+),.*/\1 \2/p'; }

# network_flags: how unshare makes a network namespace for this user.
network_flags() { if [ "$(id -u)" -eq 0 ]; then echo --net; else echo --net --user --map-root-user; fi; }

# as_root: sets as_root to what runs a command as root; WHY it has to is said where that cannot be.
as_root() {
    as_root=()
    [ "$(id -u)" -ne 0 ] || return 0
    command -v sudo >/dev/null || die "$1"
    as_root=(sudo)
}

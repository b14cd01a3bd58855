# Sourced by the scripts beside it: what a fresh machine lacks is installed, and said.

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# need COMMAND PACKAGE...: installs the packages if the command is missing.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null 2>&1 && return 0
    command -v apt-get >/dev/null 2>&1 || die "'$command' is missing, and so is apt-get to install: $*"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "'$command' is missing; as root: apt-get install $*"
        as_root=(sudo)
    fi
    say "installing $* (for '$command')"
    # One installer at a time: apt itself fails instead of waiting for some of its locks.
    (
        flock 9
        command -v "$command" >/dev/null 2>&1 && exit 0
        export DEBIAN_FRONTEND=noninteractive
        "${as_root[@]}" apt-get -qq update >&2 || say "apt-get update failed; trying with the lists at hand"
        "${as_root[@]}" apt-get -qq install -y --no-install-recommends "$@" >&2
    ) 9>"${TMPDIR:-/tmp}/dig-ingest-install.lock" || die "cannot install $*"
    hash -r
    command -v "$command" >/dev/null 2>&1 || die "'$command' is still missing after installing $*"
}

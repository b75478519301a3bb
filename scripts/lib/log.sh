# Shared by the set-up scripts: one line per thing done, one line per thing wrong.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
  say "$*"
  exit 1
}

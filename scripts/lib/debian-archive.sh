# Newer and older Debian suites beside the machine's own, for kernels and headers only.
# They have their own sources file and lists directory, so nothing on the machine is ever upgraded from them.
# Needs: repository (the checkout's absolute path), log.sh.

archive_dir="$repository/.cache/debian-archive"
archive_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
archive_list_lifetime_minutes=720

archive_apt_options=(
  -o "Dir::Etc::sourcelist=$archive_dir/archive.sources"
  -o "Dir::Etc::sourceparts=-"
  -o "Dir::State::lists=$archive_dir/lists"
  -o "Dir::Cache=$archive_dir/cache"
  -o "APT::Architecture=amd64"
  -o "APT::Architectures=amd64"
  # An unprivileged download directory is only needed for the sandbox user, who cannot read a checkout under /root.
  -o "APT::Sandbox::User=root"
)

# archive_mirror NAME: the mirror the machine already uses for deb.debian.org/NAME, else Debian's own.
archive_mirror() {
  local uri
  uri=$(apt-get indextargets --format '$(REPO_URI)' | sort -u | grep -E "/$1/?\$" | head -n 1)
  printf '%s\n' "${uri:-http://deb.debian.org/$1}"
}

archive_write_sources() {
  [ -r "$archive_keyring" ] || die "no $archive_keyring, install the package debian-archive-keyring"
  mkdir -p "$archive_dir/lists/partial" "$archive_dir/cache/archives/partial" "$archive_dir/packages"
  local name suite
  for name in debian:trixie-backports debian-security:bookworm-security; do
    suite=${name#*:}
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' \
      "$(archive_mirror "${name%%:*}")" "$suite" "$archive_keyring"
  done > "$archive_dir/archive.sources"
}

# archive_refresh: fetch the package lists unless they are recent. Kept short-lived because old kernels leave the archive.
archive_refresh() {
  [ -n "$(find "$archive_dir/refreshed" -mmin "-$archive_list_lifetime_minutes" 2> /dev/null)" ] && return 0
  say "reading Debian's package lists (trixie-backports, bookworm-security)"
  archive_write_sources
  apt-get "${archive_apt_options[@]}" -qq update || die "apt-get update failed for $archive_dir/archive.sources"
  touch "$archive_dir/refreshed"
}

# archive_newest REGEX: the full package name matching REGEX whose version is the highest.
archive_newest() {
  apt-cache "${archive_apt_options[@]}" --names-only search "$1" | cut -d ' ' -f 1 | sort -V | tail -n 1
}

# archive_version PACKAGE: the highest version of PACKAGE in these suites.
archive_version() {
  apt-cache "${archive_apt_options[@]}" madison "$1" | awk -F ' *[|] *' 'NR == 1 { print $2 }'
}

# archive_unpack PACKAGE DIRECTORY: download PACKAGE (apt checks the signatures) and unpack it, without installing it.
archive_unpack() {
  local version scratch
  version=$(archive_version "$1")
  [ -n "$version" ] || die "no package $1 in trixie-backports or bookworm-security"
  say "downloading $1 $version"
  mkdir -p "$2"
  scratch=$(mktemp -d "$archive_dir/packages/XXXXXX")
  (cd "$scratch" && apt-get "${archive_apt_options[@]}" -qq download "$1=$version") || die "download of $1 failed"
  dpkg-deb -x "$scratch"/*.deb "$2"
  rm -rf "$scratch"
}

#!/usr/bin/env bash
# What `./dev image [TAG]` does once build/headlong is there: build/image, all files of the image,
# and with docker, buildah or podman the image itself. `--files`: the files alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly ROOT=build/image
readonly LOADER=/lib64/ld-linux-x86-64.so.2
readonly MODEL=models/needle-10m

# Nothing of it has more rights than the one who runs it, and nothing but the program can be run.
collect() {
  rm -rf "$ROOT"
  mkdir -p "$ROOT"/{bin,lib,lib64,etc/ssl/certs,model,tmp}
  install -m 755 build/headlong "$ROOT/bin/"
  # shellcheck disable=SC2046  # a list of paths
  install -m 644 $(ldd build/headlong | awk '/=> \// { print $3 }' | sort -u) "$ROOT/lib/"
  install -m 755 "$LOADER" "$ROOT$LOADER"
  strip --strip-unneeded "$ROOT"/bin/* "$ROOT"/lib/*
  patchelf --set-rpath /lib "$ROOT/bin/headlong"
  install -m 644 /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/"
  install -m 644 "$MODEL"/* "$ROOT/model/"
  echo 'hosts: files dns' >"$ROOT/etc/nsswitch.conf"
  printf 'headlong:x:65532:65532::/:\n' >"$ROOT/etc/passwd"
  chmod 1777 "$ROOT/tmp"
  echo "$ROOT: $(du -sh "$ROOT" | cut -f1)"
}

make_image() {
  local tool
  for tool in docker buildah podman; do
    command -v "$tool" >/dev/null && "$tool" info &>/dev/null || continue
    "$tool" build --tag "$1" --file deploy/Dockerfile "$ROOT"
    echo "$1 is built; push it to where your cluster gets its images"
    return
  done
  echo "neither docker nor buildah nor podman answers: one of them makes an image of $ROOT" >&2
  return 1
}

collect
[[ ${1:-} == --files ]] || make_image "${1:-headlong:cpu}"

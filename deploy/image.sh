#!/usr/bin/env bash
# What `./dev image [--cuda | --cuda-image IMAGE] [TAG]` does once the program is there
# (build/headlong, or $HEADLONG_PROGRAM): build/image/root, all files of the image, and with docker,
# buildah or podman the image itself.
# --files: the files alone. --cuda: with the libraries of the PyPI packages in build/image/cuda.
# --cuda-image: with those of an image of NVIDIA's, such as nvidia/cuda:13.0.1-runtime-ubuntu22.04.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PROGRAM=${HEADLONG_PROGRAM:-build/headlong}
readonly CONTEXT=build/image
readonly ROOT=$CONTEXT/root
readonly LOADER=/lib64/ld-linux-x86-64.so.2
readonly MODEL=models/needle-10m
readonly WHEELS=(nvidia-cublas==13.* nvidia-nccl-cu13)
readonly CUDA_LIBRARIES=(libcublasLt.so.13 libnccl.so.2)
# What NVIDIA's libraries name though glibc has it all in libc.so.6: the program itself does not.
readonly EMPTY_LIBRARIES=(libdl.so.2 libpthread.so.0 librt.so.1)

# Nothing of it has more rights than the one who runs it, and nothing but the program can be run.
collect() {
  local libraries
  rm -rf "$ROOT"
  mkdir -p "$ROOT"/{bin,lib,lib64,etc/ssl/certs,model,tmp}
  install -m 755 "$PROGRAM" "$ROOT/bin/headlong"
  libraries=$(ldd "$PROGRAM" | awk '/=> \// { print $3 }' | sort -u)
  # shellcheck disable=SC2086  # a list of paths
  install -m 644 $libraries "$ROOT/lib/"
  for library in "${EMPTY_LIBRARIES[@]}"; do
    install -m 644 "$(dirname "$(grep '/libc\.so' <<<"$libraries")")/$library" "$ROOT/lib/"
  done
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

check_cuda() {
  "$PROGRAM" version -o json | grep -q '"cuda":true' && return
  echo "$PROGRAM has no code for GPUs: build it where there is a CUDA 13 compiler" >&2
  return 1
}

# The wheels hold much more than the two libraries, and need no Python to be run with.
collect_cuda() {
  local folder
  rm -rf "$CONTEXT/cuda"
  mkdir -p "$CONTEXT/cuda/lib"
  folder=$(mktemp -d)
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
    --only-binary :all: --dest "$folder" "${WHEELS[@]}"
  python3 - "$folder" "$CONTEXT/cuda/lib" "${CUDA_LIBRARIES[@]}" <<'END'
import pathlib, shutil, sys, zipfile
folder, target = map(pathlib.Path, sys.argv[1:3])
missing = set(sys.argv[3:])
for wheel in folder.glob("*.whl"):
    with zipfile.ZipFile(wheel) as files:
        for path in map(pathlib.PurePosixPath, files.namelist()):
            if path.name in missing:
                missing.remove(path.name)
                with files.open(str(path)) as source, open(target / path.name, "wb") as out:
                    shutil.copyfileobj(source, out)
if missing:
    sys.exit(f"the wheels have no {', '.join(sorted(missing))}")
END
  rm -rf "$folder"
  echo "$CONTEXT/cuda: $(du -sh "$CONTEXT/cuda" | cut -f1)"
}

# make_image TAG ARGUMENTS...
make_image() {
  local tool tag=$1
  shift
  for tool in docker buildah podman; do
    command -v "$tool" >/dev/null && "$tool" info &>/dev/null || continue
    "$tool" build --tag "$tag" --file deploy/Dockerfile "$@" "$CONTEXT"
    echo "$tag is built; push it to where your cluster gets its images"
    return
  done
  echo "neither docker nor buildah nor podman answers: one of them makes an image of $CONTEXT" >&2
  return 1
}

files=0 tag= target=cpu arguments=()
while (($# > 0)); do
  case $1 in
    --files) files=1 ;;
    --cuda)
      check_cuda
      target=cuda
      collect_cuda
      ;;
    --cuda-image)
      check_cuda
      target=cuda-of-image
      arguments=(--build-arg "CUDA_IMAGE=${2:?--cuda-image needs the name of an image}")
      shift
      ;;
    *) tag=$1 ;;
  esac
  shift
done
collect
((files)) || make_image "${tag:-headlong:${target%-of-image}}" --target "$target" "${arguments[@]}"

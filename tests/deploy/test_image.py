"""The container image: what it holds and what it does not, built where buildah can."""
import json
import os
import shutil
import subprocess

import pytest

from support.cluster import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
# Of libraries that take half a gigabyte: where files of these names end up is what is tested.
CUDA_LIBRARIES = ["libcublasLt.so.13", "libnccl.so.2"]

needs_buildah = pytest.mark.skipif(
    shutil.which("buildah") is None or os.geteuid() != 0,
    reason="buildah (Debian's package), as root, builds images without a daemon")


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """What `./dev image` builds of, with stand-ins for NVIDIA's libraries."""
    subprocess.run([ROOT / "dev", "image", "--files"], check=True, capture_output=True)
    folder = tmp_path_factory.mktemp("context")
    subprocess.run(["cp", "-a", ROOT / "build" / "image" / "root", folder], check=True)
    (folder / "cuda" / "lib").mkdir(parents=True)
    for name in CUDA_LIBRARIES:
        (folder / "cuda" / "lib" / name).write_text(name)
    return folder


class Builder:
    """buildah with storage of its own, so that nothing is left on the machine."""

    def __init__(self, folder):
        self._options = ["--root", folder / "root", "--runroot", folder / "run",
                         "--storage-driver", "vfs"]

    def run(self, *args):
        done = subprocess.run(["buildah", *map(str, [*self._options, *args])],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def build(self, context, target):
        """(the image's id, its configuration, its files)"""
        image = self.run("build", "--isolation", "chroot", "--quiet", "--no-cache", "--timestamp",
                         "0", "--target", target, "--file", DOCKERFILE, context).split()[-1]
        config = json.loads(self.run("inspect", "--type", "image", image))["OCIv1"]["config"]
        return image, config, self.run("mount", self.run("from", image))


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    made = Builder(tmp_path_factory.mktemp("buildah"))
    yield made
    made.run("umount", "--all")


def check_files(root):
    found = {os.path.relpath(os.path.join(folder, name), root): os.lstat(
        os.path.join(folder, name)) for folder, _, names in os.walk(root) for name in names}
    assert not [path for path, stat in found.items() if stat.st_mode & 0o6002]
    executable = {path for path, stat in found.items() if stat.st_mode & 0o111}
    assert executable == {"bin/headlong", "lib64/ld-linux-x86-64.so.2"}
    return set(found)


def test_the_files(context):
    found = check_files(context / "root")
    assert {"etc/passwd", "model/config.json", "etc/ssl/certs/ca-certificates.crt"} <= found
    # NVIDIA's libraries, which come later, are linked with these.
    assert {"lib/libdl.so.2", "lib/libpthread.so.0", "lib/librt.so.1"} <= found


def test_the_program_runs_on_nothing_else(context):
    if os.geteuid() != 0:
        pytest.skip("changing root needs root")
    done = subprocess.run(["chroot", "--userspec=65532:65532", context / "root", "/bin/headlong",
                           "version"], capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0 and done.stdout.startswith("headlong "), done


@needs_buildah
def test_the_image_of_cpus(context, builder):
    image, config, root = builder.build(context, "cpu")
    assert config["User"] == "65532:65532" and config["Entrypoint"] == ["/bin/headlong"]
    assert config["Cmd"][0] == "serve"
    assert check_files(root) == check_files(context / "root")
    assert builder.build(context, "cpu")[0] == image, "the same files, another image"


@needs_buildah
def test_the_image_of_gpus(context, builder):
    _, config, root = builder.build(context, "cuda")
    assert config["User"] == "65532:65532" and config["Entrypoint"] == ["/bin/headlong"]
    libraries = {f"cuda/lib/{name}" for name in CUDA_LIBRARIES}
    assert check_files(root) == check_files(context / "root") | libraries
    environment = dict(each.split("=", 1) for each in config["Env"])
    assert environment["HEADLONG_CUDA_PATH"] == "/cuda"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"

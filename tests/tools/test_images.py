"""``cloister images``: what there is, what is made, and what a person is told."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from images import initramfs
from images.guests import build
from images.recipes import RecipeError, debian_cloud, packages
from tests.images.kernel_modules import tree
from tests.images.test_cpio import read
from tests.images.test_initramfs import NEEDS
from tools import cli
from tools import images as command
from tools.errors import UserError


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("CLOISTER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def unpacked(tmp_path: Path) -> None:
    """What the two packages of Debian's unpack to."""
    kernel = tmp_path / "linux-image-6.1.0-9-cloud-amd64"
    (kernel / "boot").mkdir(parents=True)
    (kernel / "boot" / "vmlinuz-6.1.0-9-cloud-amd64").write_bytes(b"kernel")
    modules = kernel / "lib" / "modules" / "6.1.0-9-cloud-amd64"
    tree(modules, NEEDS, builtin=("ext4", "crc32c_generic"))
    (tmp_path / "busybox-static" / "bin").mkdir(parents=True)
    (tmp_path / "busybox-static" / "bin" / "busybox").write_bytes(b"busybox")


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, packages.Package]:
    """An apt that offers what is in this table."""
    table = {
        name: packages.Package(name, "1", depends)
        for name, depends in (
            ("linux-image-cloud-amd64", "linux-image-6.1.0-9-cloud-amd64 (= 1)"),
            ("linux-image-6.1.0-9-cloud-amd64", ""),
            ("busybox-static", ""),
        )
    }
    unpacked(tmp_path / "unpacked")
    monkeypatch.setattr(debian_cloud, "ensure_lists", lambda probe: None)
    monkeypatch.setattr(debian_cloud, "find", table.get)
    monkeypatch.setattr(
        debian_cloud, "unpack", lambda package, folder: tmp_path / "unpacked" / package.name
    )
    return table


def test_a_fetched_image_is_complete_and_says_what_it_is_made_of(
    cache: Path, offers: dict[str, packages.Package], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cache / "images" / "debian-cloud"
    assert cli.main(["images", "fetch", "linux"]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    assert sorted(path.name for path in folder.iterdir()) == sorted(debian_cloud.FILES)
    assert (folder / "vmlinuz").read_bytes() == b"kernel"
    assert {entry.name for entry in read((folder / "initramfs").read_bytes())} > {"init"}
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["packages"] == {"linux-image-6.1.0-9-cloud-amd64": "1", "busybox-static": "1"}
    assert manifest["sha256"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("vmlinuz", "initramfs")
    }


def test_it_has_the_name_of_its_folder_too(
    cache: Path, offers: dict[str, packages.Package]
) -> None:
    assert command.fetch("debian-cloud") == command.fetch("linux")


def test_an_image_with_an_older_init_is_out_of_date_and_made_again(
    offers: dict[str, packages.Package],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command.fetch("linux")
    changed = tmp_path / "init.sh"
    changed.write_text("#!/bin/busybox sh\necho new\n", encoding="utf-8")
    monkeypatch.setattr(initramfs, "INIT", changed)
    assert command.states()[0].status == "outdated"
    assert cli.main(["images", "list"]) == 0
    assert re.search(r"^linux +out of date, ", capsys.readouterr().out)
    command.fetch("linux")
    assert command.states()[0].status == "ready"


@pytest.mark.parametrize("text", ["", "[]", "{}", "\0"])
def test_a_manifest_that_says_nothing_is_out_of_date(
    text: str, cache: Path, offers: dict[str, packages.Package]
) -> None:
    (command.fetch("linux") / "manifest.json").write_text(text, encoding="utf-8")
    assert command.states()[0].status == "outdated"
    offers.clear()
    with pytest.raises(UserError, match="apt offers no package"):
        command.fetch("linux")


@pytest.mark.parametrize(
    ("depends", "sentence"),
    [
        ("linux-image-rt-amd64", "names no kernel package"),
        ("linux-image-6.1.0-8-cloud-amd64", "no package linux-image-6.1.0-8-cloud-amd64"),
    ],
)
def test_a_meta_package_without_a_kernel_is_told(
    depends: str, sentence: str, offers: dict[str, packages.Package]
) -> None:
    meta = offers["linux-image-cloud-amd64"]
    offers[meta.name] = meta._replace(depends=depends)
    with pytest.raises(UserError, match=sentence):
        command.fetch("linux")


def test_packages_with_another_layout_leave_no_image(
    cache: Path, offers: dict[str, packages.Package], tmp_path: Path
) -> None:
    (tmp_path / "unpacked" / "busybox-static" / "bin" / "busybox").unlink()
    with pytest.raises(UserError, match="another layout"):
        command.fetch("linux")
    assert not list((cache / "images").iterdir())


def test_a_kernel_without_a_module_is_told(
    offers: dict[str, packages.Package], tmp_path: Path
) -> None:
    for module in (tmp_path / "unpacked").rglob("virtio_blk.ko"):
        module.unlink()
    with pytest.raises(UserError, match="this kernel has no module virtio_blk"):
        command.fetch("linux")


@pytest.mark.parametrize("person", [True, False])
def test_steps_are_told_to_a_person(
    person: bool,
    offers: dict[str, packages.Package],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    offers["busybox-static"] = packages.Package("busybox-static", "1", "", 928188)
    monkeypatch.setattr("sys.stderr.isatty", lambda: person)
    command.fetch("linux")
    told = capsys.readouterr().err
    assert ("cloister: downloading busybox-static 1, 0.9 MB\n" in told) == person
    assert bool(told) == person


def test_what_is_ready_is_not_fetched_again(offers: dict[str, packages.Package]) -> None:
    command.fetch("linux")
    offers.clear()
    command.fetch("linux")
    with pytest.raises(UserError, match="apt offers no package linux-image-cloud-amd64"):
        command.fetch("linux", force=True)


def test_a_failed_fetch_leaves_the_old_image(
    cache: Path, offers: dict[str, packages.Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    command.fetch("linux")

    def fail(package: packages.Package, folder: Path) -> Path:
        raise RecipeError("'apt-get download' failed: no space")

    monkeypatch.setattr(debian_cloud, "unpack", fail)
    with pytest.raises(UserError, match="cannot fetch linux: 'apt-get download' failed: no space"):
        command.fetch("linux", force=True)
    assert [path.name for path in (cache / "images").iterdir()] == ["debian-cloud"]
    assert command.states()[0].ready


def test_list_says_what_is_here(
    offers: dict[str, packages.Package], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["images", "list"]) == 0
    assert "not here: cloister images fetch linux" in capsys.readouterr().out
    command.fetch("linux")
    assert cli.main(["images", "list", "--json"]) == 0
    states = {state["name"]: state for state in json.loads(capsys.readouterr().out)}
    assert states["linux"]["status"] == "ready"
    files = Path(states["linux"]["path"]).iterdir()
    assert states["linux"]["size"] == sum(path.stat().st_size for path in files)
    assert {name for name, state in states.items() if state["how"] == "build"} == set(build.names())
    assert (states["demo"]["status"], states["demo"]["size"]) == ("absent", 0)
    assert cli.main(["images", "list"]) == 0
    size = f"{states['linux']['size'] / 1e3:.1f} kB"
    assert re.search(rf"^linux +ready, {size}\n", capsys.readouterr().out)


def test_a_guest_of_our_own_is_built_once(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["images", "build", "demo"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.parent == cache / "images" / "guests"
    assert path.read_bytes() == build.build("demo")
    before = path.stat().st_mtime_ns
    assert command.guest("demo") == path
    assert path.stat().st_mtime_ns == before
    assert {state.name: state.ready for state in command.states()}["demo"]


def test_a_guest_is_built_again_when_a_source_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(command.GUESTS, sources)
    monkeypatch.setattr(command, "GUESTS", sources)
    first = command.guest("demo")
    with (sources / "demo" / "shell.asm").open("a", encoding="ascii") as file:
        file.write("# changed\n")
    second = command.guest("demo")
    assert first != second
    assert first.exists()  # somebody may be running it


def test_a_guest_that_cannot_be_assembled_is_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> bytes:
        raise build.AssemblyError("shell.asm:7: no such instruction")

    monkeypatch.setattr(build, "build", fail)
    with pytest.raises(UserError, match=r"demo could not be assembled: shell\.asm:7"):
        command.guest("demo")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("action", "name", "sentence"),
    [
        (
            "fetch",
            "plan9",
            "there is no recipe for 'plan9'; known are linux, linux-generic, linux-i386, "
            "linux-tpm, seabios, boot-media, grub-disk, debian-cloud, debian-tpm",
        ),
        ("build", "plan9", "there is no guest 'plan9' of our own; known are demo"),
        ("build", "./demo", "there is no guest './demo' of our own; known are demo"),
        ("build", "../recipes", "there is no guest '../recipes' of our own; known are demo"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(
    action: str, name: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["images", action, name]) == 1
    assert capsys.readouterr().err == f"cloister: {sentence}\n"


def test_a_cache_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, offers: dict[str, packages.Package]
) -> None:
    monkeypatch.setenv("CLOISTER_CACHE", "/proc/cache")
    with pytest.raises(UserError, match="cannot write the image /proc/cache/images/debian-cloud"):
        command.fetch("linux")


def programs(folder: Path, **scripts: str) -> str:
    """A ``PATH`` of stand-ins for apt's programs."""
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return str(folder)


SHOWN = "Package: p\nVersion: 1\nDepends: a (>= 1), b\nSize: 7\nDescription: x\n Version: no\n"


def test_a_package_is_what_apt_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", apt_cache=f"/bin/cat <<'E'\n{SHOWN}E"))
    assert packages.find("p") == packages.Package("p", "1", "a (>= 1), b", 7)


def test_other_systems_are_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecipeError, match="there is no apt-get here"):
        packages.ensure_lists("p")


@pytest.mark.parametrize(("user", "updates"), [(0, 1), (1000, 0)])
def test_lists_are_updated_by_root_alone(
    user: int, updates: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    apt_get = f"case $1 in update) echo >>{log};; esac"
    path = programs(tmp_path / "bin", apt_cache=f"echo '{SHOWN}'", apt_get=apt_get, dpkg_deb="")
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(RecipeError, match=r"no lists .* run 'apt-get update' as root"):
        packages.ensure_lists("p")
    assert (len(log.read_text()) if log.exists() else 0) == updates


def test_lists_that_are_there_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    apt_get = f"case $1 in update) echo >>{log};; indextargets) echo /lists/Packages;; esac"
    path = programs(tmp_path / "bin", apt_cache="exit 0", apt_get=apt_get, dpkg_deb="")
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(RecipeError, match="offers no package p, which Debian for amd64 has"):
        packages.ensure_lists("p")
    assert not log.exists()


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        (
            "W: x\nE: Failed to fetch http://m/p.deb  404  Not Found\nE: Unable to fetch some",
            "404  Not Found; look after the network, or run 'apt-get update' as root if the "
            "lists are old, and try again",
        ),
        ("tar: x\ndpkg-deb: error: no space left", "dpkg-deb: error: no space left"),
        ("", "status 100"),
    ],
)
def test_what_went_wrong_is_one_sentence(
    messages: str, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "said").write_text(messages, encoding="utf-8")
    apt_get = f"/bin/cat {tmp_path / 'said'} >&2; exit 100"
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", apt_get=apt_get))
    with pytest.raises(RecipeError) as raised:
        packages.unpack(packages.Package("p", "1", ""), tmp_path)
    assert str(raised.value) == f"'apt-get download' failed: {sentence}"


def test_apts_own_reason_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", apt_get="echo 'E: Failed to fetch it.' >&2; exit 100")
    monkeypatch.setenv("PATH", path)
    with pytest.raises(RecipeError, match=r"'apt-get download' failed: Failed to fetch it$"):
        packages.unpack(packages.Package("p", "1", ""), tmp_path)


@pytest.mark.skipif(
    os.environ.get("CLOISTER_TEST_APT") != "1",
    reason="downloads 28 MB of Debian packages; set CLOISTER_TEST_APT=1",
)
def test_debians_kernel_is_fetched_for_real_and_boots(tmp_path: Path) -> None:
    folder = command.fetch("linux")
    assert (folder / "vmlinuz").read_bytes()[0x202:0x206] == b"HdrS"
    names = {entry.name for entry in read((folder / "initramfs").read_bytes())}
    assert {"lib/modules/virtio_blk.ko", "lib/modules/virtio_net.ko"} < names
    if shutil.which("qemu-system-x86_64") is None:
        return
    assert boot(folder, tmp_path, "cloister.exit") == ["cloister: init started"]
    script = (
        "mke2fs -F /dev/vda >/dev/null 2>&1 && mount /dev/vda /mnt && echo kept >/mnt/note\n"
        "umount /mnt && mount /dev/vda /mnt && cat /mnt/note; ls /dev/hwrng; ls /sys/class/net"
    )
    encoded = base64.b64encode(script.encode()).decode()
    assert boot(folder, tmp_path, f"cloister.run={encoded}") == [
        "cloister: init started",
        *("kept", "/dev/hwrng", "eth0  lo"),
        "cloister: script ended with status 0",
    ]


def boot(image: Path, folder: Path, word: str) -> list[str]:
    """What a guest prints in QEMU until it powers off, from init's first line on."""
    disk = folder / "disk"
    disk.write_bytes(bytes(8 << 20))
    done = subprocess.run(
        [
            *("qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-nographic", "-no-reboot"),
            *("-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initramfs")),
            *("-append", f"console=ttyS0 quiet loglevel=0 {word}"),
            *("-drive", f"file={disk},format=raw,if=none,id=d"),
            *("-device", "virtio-blk-pci,drive=d", "-device", "virtio-rng-pci"),
            *("-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=True,
    )
    shown = re.sub(rb"\x1b(\[[0-9;?]*[A-Za-z]|c)", b"\n", done.stdout).decode()
    lines = [line.strip() for line in shown.splitlines()]
    lines = [line for line in lines if line.strip(".")]  # the firmware prints dots
    return lines[next(i for i, line in enumerate(lines) if "Booting from ROM" in line) + 1 :]

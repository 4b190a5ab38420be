"""What is said to be loaded is what processes have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.rig import pids
from tests.support.programs.modules import Teller
from tools.errors import UserError
from tools.system import ROOT, boot, load
from tools.tcb.code import elf, lines, measure, surface
from tools.tcb.code.loaded import KERNEL, Layer, layer_of, loaded

DESCRIPTION = """
name = "sample"
[[process]]
name = "teller"
program = "tests.support.programs.modules"
offers = ["teller"]
"""


def test_a_process_in_its_sandbox_has_loaded_just_that(tmp_path: Path) -> None:
    file = tmp_path / "teller.toml"
    file.write_text(DESCRIPTION)
    with boot(load(str(file))) as system:
        told = set(system.open(Teller, "teller").modules())
        maps = Path(f"/proc/{pids(system)['teller']}/maps").read_text()
    measured = loaded("tests.support.programs.modules")
    assert told - {"__main__"} == measured.modules - {"__main__"}
    mapped = {line.split()[5] for line in maps.splitlines() if " r-xp " in line and "/" in line}
    assert mapped == {str(path) for path in (*measured.libraries, *measured.interpreter)}


def test_what_is_imported_by_a_name_made_up_at_run_time_counts() -> None:
    own = loaded("tpm").sources[Layer.OWN]
    assert ROOT / "tpm" / "tpm20" / "families" / "attestation.py" in own


def test_layers_are_told_by_place() -> None:
    import msgspec

    assert layer_of(ROOT / "vmm" / "board.py") is Layer.OWN
    assert layer_of(Path(msgspec.__file__)) is Layer.THIRD_PARTY
    assert layer_of(Path(subprocess.__file__).resolve()) is Layer.STANDARD_LIBRARY


def test_a_program_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match=r"no\.such cannot be loaded: ModuleNotFoundError"):
        loaded("no.such")


def test_the_kernel_loads_no_user_mode_code() -> None:
    own = loaded(KERNEL, runtime=False).sources[Layer.OWN]
    assert {path.relative_to(ROOT).parts[0] for path in own} == {"kernel"}


def test_a_vmm_is_its_engine_and_more_than_a_driver() -> None:
    vmm, driver = measure.process("vmm", True), measure.process("drivers.block")
    assert any("libunicorn" in part.name for part in vmm.parts[measure.NATIVE])
    assert vmm.lines()["own"] > driver.lines()["own"] > 500
    both = measure.together([vmm, driver])
    assert both.lines()["own"] < vmm.lines()["own"] + driver.lines()["own"]
    assert both.lines()["own"] >= vmm.lines()["own"]
    assert both.lines()["interpreter"] == vmm.lines()["interpreter"] > 400_000
    assert both.lines()["host kernel"] == vmm.lines()["host kernel"] > 1_000_000
    assert both.unknown()[measure.FIRMWARE] == ["the machine's firmware"]


def test_a_manifest_names_each_file_by_its_content() -> None:
    code = measure.process("drivers.block")
    manifest = measure.manifest(code)
    own = str(ROOT / "drivers" / "block" / "main.py")
    digest = subprocess.run(["sha256sum", own], capture_output=True, text=True, check=True)
    assert manifest["sha256"][own] == digest.stdout.split()[0]
    assert manifest["counted_by"] == lines.version()


def test_machine_code_is_what_readelf_says(tmp_path: Path) -> None:
    library = Path(sys.executable).resolve()
    shown = subprocess.run(["readelf", "-lW", library], capture_output=True, text=True, check=False)
    if shown.returncode:
        pytest.skip("needs readelf; to enable: apt-get install binutils")
    rows = [
        line.split() for line in shown.stdout.splitlines() if " LOAD " in line and " E " in line
    ]
    assert elf.text_bytes(library) == sum(int(row[4], 16) for row in rows)


@pytest.mark.parametrize(
    "data",
    [b"", b"MZ", b"\x7fELF\2\1", b"\x7fELF\2\1" + b"\xff" * 90],
    ids=["empty", "other", "short", "damaged"],
)
def test_what_is_no_elf_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(elf.NotElf):
        elf.text_bytes(tmp_path / "x")


def test_reachable_calls_are_those_that_the_filters_allow() -> None:
    from tools.isolation.filters import ALWAYS, bpf, filters

    first, second = (set(surface.reachable(program)) for program in (filters()[1], filters()[0]))
    number = {
        name: bpf.resolve_syscall(bpf.Arch.NATIVE, name)
        for name in ("read", "openat", "ptrace", "execve", "clone", "mmap", "mount")
    }
    assert {number["read"], number["clone"], number["mmap"]} <= first & second
    assert {number["openat"], number["execve"]} <= first - second
    assert not {number["ptrace"], number["mount"]} & first
    named = sum(len(names.split()) for names, _ in ALWAYS)
    assert surface.system_calls(False) >= named - 3  # some are not on every architecture
    assert surface.system_calls(False) < 100


def test_a_filter_that_nobody_compiled_is_not_guessed_at() -> None:
    with pytest.raises(surface.UnknownFilter):
        surface.reachable(b"\x87\0\0\0\0\0\0\0")

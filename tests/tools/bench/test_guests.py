"""What boots: how it is found out, and how it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench import guests


def test_a_guest_is_booted_and_looked_at(tmp_path: Path) -> None:
    (demo,) = [guest for guest in guests.GUESTS if guest.name == "demo"]
    found = guests.attempt(demo, tmp_path)
    assert found.missing == []
    assert "power off" in found.said
    found = guests.attempt(demo._replace(expected=("what it never says",)), tmp_path)
    assert found.missing == ["what it never says"]


def test_a_transcript_is_plain_text() -> None:
    said = "\x1b[2J\x1b[1;1HMemtest\r\n\r\n\x07line\n" + "x" * 200
    assert guests.transcript(said) == "Memtest\nline\n" + "x" * 100


def test_the_document_says_what_did_not_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    (demo,) = [guest for guest in guests.GUESTS if guest.name == "demo"]
    monkeypatch.setattr(guests, "GUESTS", (demo,))
    text = guests.document([guests.Found("demo", ["its greeting"], "what it said\n")])
    assert "| [demo](#demo) |" in text
    assert "no: its greeting" in text
    assert "cloister boot --kernel guest:demo --append auto" in text


def test_the_page_has_all_guests() -> None:
    text = guests.DOCUMENT.read_text(encoding="utf-8")
    for guest in guests.GUESTS:
        assert f"## {guest.name}\n" in text
        if guest.picture:
            assert (guests.PICTURES / f"{guest.name}.png").read_bytes().startswith(b"\x89PNG")
    assert "| no" not in text

"""capDL specifications: what is read, and who can affect whom by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import UserError
from tools.tcb.graph.closure import closures
from tools.tcb.graph.model import Graph, Property
from tools.tcb.systems import capdl, capdl_text, source

SPECIFICATION = """
/* A client, its server, and who started both. */
arch x86_64
objects {
  client_tcb = tcb (addr: 0x1000, prio: 50, fault_ep: 0x2)
  server_tcb = tcb (prio: 60)
  helper_tcb = tcb (prio: 60)
  starter_tcb = tcb (prio: 40)
  logger_tcb = tcb (prio: 40)
  client_cn = cnode (4 bits)   server_cn = cnode (4 bits)
  starter_cn = cnode (4 bits)  logger_cn = cnode (4 bits)
  client_pd = pml4  server_pd = pml4  starter_pd = pml4  logger_pd = pml4
  client_pt = pt  server_pt = pt
  service = ep  faults = ep  log = ep
  shared = frame (4k)
  private[3] = frame (4k)
  card = io_device (0x1:2.3, domainID: 1)
  memory = ut (12 bits, paddr: 0x100000) { logger_tcb, logger_pd }
}
caps {
  client_tcb { cspace: client_cn (guard: 0, guard_size: 60) vspace: client_pd }
  server_tcb { cspace: server_cn vspace: server_pd }
  helper_tcb { cspace: server_cn vspace: server_pd }
  starter_tcb { cspace: starter_cn vspace: starter_pd }
  logger_tcb { cspace: logger_cn vspace: logger_pd }
  client_cn { 0x1: service (WG, badge: 7)  0x2: faults (RWP)  0x3: log (W) }
  server_cn { 1: service (R) 2: card }
  starter_cn { 1: client_tcb  2: faults (R) 3: memory }
  logger_cn { 1: log (R) }
  client_pd { 0: client_pt }
  server_pd { 0: server_pt }
  client_pt { 0x0: shared (RW) 0x10: private[0..1] (RW) }
  server_pt { 0: shared (R) -- the server only reads
              1: private[2] (RW) }
}
irq maps { }
"""


def system() -> Graph:
    return capdl.parse(SPECIFICATION, "sample")


def members(subject: str, wanted: Property) -> set[str]:
    return set(closures(system(), subject)[wanted].members()) - {"seL4"}


def test_objects_and_capabilities() -> None:
    found = capdl_text.read(SPECIFICATION, "sample.cdl")
    assert [found[f"private[{i}]"].kind for i in range(3)] == ["frame"] * 3
    assert found["client_cn"].slots["1"] == capdl_text.Cap("service", frozenset("WG"))
    assert found["client_pt"].slots["17"].target == "private[1]"
    assert found["memory"].covers == ["logger_tcb", "logger_pd"]
    assert found["client_tcb"].attributes["prio"] == "50"


def test_threads_of_an_address_space_are_one_process() -> None:
    assert system().members["server_pd"] == ["server_tcb", "helper_tcb"]


def test_who_answers_controls_or_shares_is_trusted() -> None:
    assert members("client_tcb", Property.INTEGRITY) == {
        *("client_pd", "server_pd", "starter_pd"),  # serves, and holds the thread and its faults
        *("device:card", "memory:shared"),
    }
    # the client writes what the server reads; nobody is told of the server but its device
    assert "client_pd" in members("server_tcb", Property.INTEGRITY)
    assert members("starter_tcb", Property.INTEGRITY) == {"starter_pd"}


def test_who_is_told_is_trusted_with_secrets_alone() -> None:
    assert "logger_pd" in members("client_tcb", Property.CONFIDENTIALITY)
    assert "logger_pd" not in members("client_tcb", Property.INTEGRITY)
    assert "starter_pd" in members("logger_tcb", Property.INTEGRITY)  # it has the memory


def test_priorities_decide_over_availability() -> None:
    assert {"server_pd", "client_pd"} <= members("logger_tcb", Property.AVAILABILITY)


def test_a_file_of_either_kind_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "sample.cdl"
    path.write_text(SPECIFICATION)
    assert "server_pd" in source.load(str(path)).members


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it has no objects"),
        ("objects { a = }", "line 1: its end is there in place of more"),
        ("objects { a = ep } caps { b { } }", "'b' is there in place of an object that there is"),
        ("objects { a[99999999] = ep }", "a number up to"),
        ("objects { a[2] = ep\nb = cnode } caps { b { 1: a[2] } }", "an index up to 1"),
        ("what { }", "'what' is there in place of a section"),
        ("objects {\n a = ep\n . }", r"line 3: '\.' is not capDL"),
    ],
)
def test_what_is_wrong_has_its_line(text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        capdl.parse(text, "wrong")


@given(
    st.lists(
        st.sampled_from(
            [*"{}()[]<>=:,;.", "..", "a", "b", "1", "0x2", "tcb", "ep", "objects", "caps"]
        ),
        max_size=40,
    ),
    st.integers(0, len(SPECIFICATION)),
)
def test_no_text_breaks_it(words: list[str], at: int) -> None:
    for text in (" ".join(words), f"{SPECIFICATION[:at]} {' '.join(words)} {SPECIFICATION[at:]}"):
        try:
            capdl.parse(text, "any")
        except UserError:
            pass

"""Who is trusted, on random graphs, beside the definition; and what edits can change of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import UserError
from tools.tcb.graph import edits
from tools.tcb.graph.closure import closure, closures, why
from tools.tcb.graph.model import (
    ALL,
    AVAILABILITY,
    INTEGRITY,
    Component,
    Graph,
    Influence,
    Kind,
    Property,
    graph,
    implied,
)

NAMES = [f"p{number}" for number in range(7)]
ends = st.sampled_from(NAMES)
properties = st.frozensets(st.sampled_from(list(Property)))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    kinds = st.sampled_from([Kind.PROGRAM, Kind.PROGRAM, Kind.ASSET])
    components = [Component(name, draw(kinds)) for name in NAMES]
    influences = []
    for source, target, direct, cut in draw(
        st.lists(st.tuples(ends, ends, properties, properties), max_size=16)
    ):
        why_so = f"{source} to {target}"
        plain = Influence(source, target, direct, why_so, (target, source))
        influences.append(plain.without(cut, "a wrapper"))
    places = {name: draw(ends) for name in draw(st.lists(ends, max_size=2))}
    return graph("random", components, influences, places)


def trusted(system: Graph, subject: str, wanted: Property, wrappers: bool) -> set[str]:
    """By the definition: the least set that is closed under influence."""
    found = {subject}
    while True:
        more = {
            system.process(each.source)
            for each in system.influences
            if system.process(each.target) in found
            and wanted
            in implied(
                each.properties | (frozenset() if wrappers else each.wrapped),
                system.components[each.target].kind,
            )
        }
        if more <= found:
            return found
        found |= more


@given(graphs(), ends, st.sampled_from(list(Property)), st.booleans())
def test_it_is_the_least_closed_set(
    system: Graph, name: str, wanted: Property, wrappers: bool
) -> None:
    subject = system.process(name)
    assert set(closure(system, [subject], wanted, wrappers).steps) == trusted(
        system, subject, wanted, wrappers
    )


@given(graphs(), ends)
def test_every_member_has_a_chain_of_influence_to_the_subject(system: Graph, name: str) -> None:
    subject = system.process(name)
    for wanted, found in closures(system, subject).items():
        lengths = []
        for member in found.members():
            path = found.path(member)
            at = member
            for step in path:
                assert system.process(step.source) == at
                kind = system.components[step.target].kind
                assert wanted in implied(step.properties, kind)
                at = system.process(step.target)
            assert at == subject
            lengths.append(len(path))
        assert lengths == sorted(lengths)  # the nearest come first, so each chain is a shortest


@given(graphs(), ends)
def test_wrappers_take_away_and_never_add(system: Graph, name: str) -> None:
    subject = system.process(name)
    for wanted in Property:
        assert set(closure(system, [subject], wanted).steps) <= set(
            closure(system, [subject], wanted, wrappers=False).steps
        )


@given(graphs(), ends)
def test_whoever_controls_a_program_can_have_it_tell_and_stop(system: Graph, name: str) -> None:
    programs = [replace(each, kind=Kind.PROGRAM) for each in system.components.values()]
    system = graph("programs", programs, system.influences, system.process_of)
    found = closures(system, system.process(name))
    integrity = set(found[Property.INTEGRITY].steps)
    assert integrity <= set(found[Property.CONFIDENTIALITY].steps)
    assert integrity <= set(found[Property.AVAILABILITY].steps)


@given(graphs(), ends, ends, ends)
def test_one_process_trusts_all_that_its_parts_did(
    system: Graph, name: str, one: str, other: str
) -> None:
    merged = edits.merge(system, [one, other])
    for wanted in Property:
        before = closure(system, [system.process(name)], wanted)
        after = closure(merged, [merged.process(name)], wanted)
        moved = {merged.process(part) for each in before.steps for part in system.members[each]}
        assert moved <= set(after.steps)


@given(graphs(), ends)
def test_dropping_a_capability_never_adds(system: Graph, name: str) -> None:
    held = [each.held for each in system.influences if each.held]
    for holder, target in held[:2]:
        one, other = system.process(holder), system.process(target)
        less = edits.drop(system, one, other)
        for wanted in Property:
            subject = [system.process(name)]
            before, after = closure(system, subject, wanted), closure(less, subject, wanted)
            assert set(after.steps) <= set(before.steps)


def sample() -> Graph:
    """Two clients of one server, which writes a disk that it shares with nobody else."""
    parts = [Component(name) for name in ("a", "b", "server")] + [Component("disk", Kind.ASSET)]
    return graph(
        "sample",
        parts,
        [
            Influence("server", "a", ALL, "a holds server", ("a", "server")),
            Influence("server", "b", ALL, "b holds server", ("b", "server")),
            Influence("disk", "server", AVAILABILITY, "server waits for disk", ("server", "disk")),
            Influence("server", "disk", INTEGRITY, "server writes disk", ("server", "disk")),
            Influence("b", "server", AVAILABILITY, "b may stop server", ("b", "server")),
        ],
        subjects={"both": ("a", "b")},
    )


def members(system: Graph, subject: str, wanted: Property) -> list[str]:
    return closures(system, subject)[wanted].members()


def test_a_server_of_its_own_is_out_of_others_reach() -> None:
    system = sample()
    assert members(system, "a", Property.AVAILABILITY) == ["a", "server", "disk", "b"]
    apart = edits.split(system, "server", "a")
    assert members(apart, "a", Property.AVAILABILITY) == ["a", "server for a", "disk"]
    assert members(apart, "b", Property.AVAILABILITY) == ["b", "server", "disk"]
    assert set(members(apart, "disk", Property.INTEGRITY)) == {"disk", "server", "server for a"}
    with pytest.raises(UserError, match="sample: a holds no capability to server"):
        edits.split(apart, "server", "a")


def test_protection_leaves_what_is_not_protected() -> None:
    system = edits.wrap(sample(), "a", "server", INTEGRITY, "a checks it")
    assert members(system, "a", Property.INTEGRITY) == ["a"]
    assert members(system, "a", Property.CONFIDENTIALITY) == ["a", "server"]
    assert members(system, "b", Property.INTEGRITY) == ["b", "server"]
    whole = closures(system, "a", wrappers=False)
    assert whole[Property.INTEGRITY].members() == ["a", "server"]


def test_a_component_can_move() -> None:
    system = edits.move(edits.merge(sample(), ["a", "server"]), "server", "b")
    assert members(system, "a", Property.INTEGRITY) == ["a", "b"]
    assert system.members["b"] == ["b", "server"]
    assert "new" in edits.move(system, "server", "new").members


def test_several_together_are_a_subject() -> None:
    assert members(sample(), "both", Property.INTEGRITY) == ["a", "b", "server"]
    assert set(why(sample(), "both", "disk")) == {Property.AVAILABILITY}


def test_what_is_wrong_is_named() -> None:
    system = sample()
    with pytest.raises(UserError, match="there is no 'nobody' in sample; there are a, b, server"):
        closures(system, "nobody")
    with pytest.raises(UserError, match="'both' is several: a, b; name one of them"):
        edits.merge(system, ["both", "a"])
    with pytest.raises(UserError, match="sample: a holds no capability to b"):
        edits.drop(system, "a", "b")
    with pytest.raises(UserError, match="there are two components named 'a'"):
        graph("twice", [Component("a"), Component("a")], [])
    with pytest.raises(UserError, match="there is no component 'b'"):
        graph("none", [Component("a")], [Influence("b", "a", ALL, "b runs a")])

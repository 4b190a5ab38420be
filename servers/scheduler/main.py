"""Credits: earned by weight, spent by running.

Each period's CPU time, as much as all virtual machines together have used, is credited to those
that were active by their weights, and what each has used is debited.  Who has credit left is
favoured; who has none runs when nobody who has wants to.  So nobody is held back while the
processor would be idle, and over time everybody who is busy gets the share of its weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from servers.init.interface import Scheduling, Usage
from servers.runtime import Environment, KernelError, NotFound

PERIOD: Final = 50_000_000
"""Nanoseconds between two accounts."""
MOST: Final = 4
"""Periods of CPU time that can be saved up or owed, so that the past is forgotten soon."""


class Account(NamedTuple):
    """What is known of one virtual machine."""

    cpu_ns: int
    """What it had used at the last account."""
    credit: float = 0.0
    """Nanoseconds it may use; negative if it has used more than its share."""
    favoured: bool = True


Accounts = dict[str, Account]


def settle(accounts: Accounts, usages: Iterable[Usage]) -> Accounts:
    """The accounts after one more period; virtual machines that are gone are forgotten."""
    usages = list(usages)
    used = {
        usage.name: max(0, usage.cpu_ns - accounts[usage.name].cpu_ns)
        for usage in usages
        if usage.name in accounts and usage.cpu_ns >= accounts[usage.name].cpu_ns
    }
    total, most = sum(used.values()), MOST * PERIOD
    # Who was held back may have wanted to run: only the favoured who did not run were asleep.
    active = [u for u in usages if used.get(u.name) or (u.name in used and _held(accounts, u))]
    weights = sum(usage.weight for usage in active) or 1
    settled: Accounts = {}
    for usage in usages:
        old = accounts.get(usage.name)
        if old is None or usage.name not in used:  # new, or started anew
            settled[usage.name] = Account(usage.cpu_ns)
            continue
        earned = total * usage.weight / weights if usage in active else 0.0
        credit = old.credit + earned - used[usage.name]
        if usage not in active:
            credit = 0.0  # nothing is saved up by sleeping
        credit = min(max(credit, -most), most)
        settled[usage.name] = Account(usage.cpu_ns, credit, credit >= 0)
    return settled


def _held(accounts: Accounts, usage: Usage) -> bool:
    return not accounts[usage.name].favoured


def account(accounts: Accounts, policy: Scheduling) -> Accounts:
    """Settle the accounts, and tell the policy's other end what has changed."""
    settled = settle(accounts, policy.usage())
    for name, now in settled.items():
        if now.favoured != accounts.get(name, now._replace(favoured=True)).favoured:
            try:
                policy.favour(name, now.favoured)
            except (KernelError, NotFound):
                pass  # it has ended since
    return settled


def main(env: Environment) -> None:
    policy = env.open(Scheduling, "scheduling", retries=3)
    accounts: Accounts = {}
    while True:
        env.sleep(PERIOD)
        accounts = account(accounts, policy)

"""`python -m tests.tpm.differential`: a campaign, and the findings reduced to what matters."""

from __future__ import annotations

import argparse
import sys
import time

from tests.tpm.differential import campaign, decided
from tests.tpm.differential.pair import AVAILABLE, MISSING, Ours, Pair, Theirs


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.tpm.differential", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first sequence")
    parser.add_argument("--sequences", type=int, default=1, help="how many, one seed each")
    parser.add_argument("--length", type=int, default=campaign.LENGTH, help="steps of a sequence")
    parser.add_argument("--edits", action="store_true", help="send edited commands too")
    parser.add_argument("--findings", type=int, default=1, help="stop after so many")
    parser.add_argument("--coverage", action="store_true", help="how often each command worked")
    return parser.parse_args()


def main() -> int:
    """The exit status: 1 if something is not explained, 2 without swtpm."""
    if not AVAILABLE:
        print(MISSING, file=sys.stderr)
        return 2
    options = _arguments()
    tally, findings, known = campaign.Tally(), 0, set()
    start = time.monotonic()
    with Theirs() as theirs:
        pair = Pair(Ours().machine, theirs.machine)
        for seed in range(options.seed, options.seed + options.sequences):
            finding = campaign.run(pair, seed, tally, options.edits, options.length)
            if finding is None or finding.difference.signature in known:
                continue
            known.add(finding.difference.signature)
            print(campaign.reduced(pair, finding), end="\n\n", flush=True)
            findings += 1
            if findings == options.findings:
                break
    _report(tally, time.monotonic() - start, options.coverage)
    return int(findings > 0)


def _report(tally: campaign.Tally, seconds: float, coverage: bool) -> None:
    succeeded, failed = tally.succeeded.total(), tally.failed.total()
    print(f"{tally.steps} steps in {seconds:.1f} s: {succeeded} succeeded, {failed} failed")
    for name, count in tally.rows.most_common():
        print(f"  {count} x {name} ({decided.DECIDED[name].paragraph})")
    for name in decided.DECIDED.keys() - tally.rows.keys():
        print(f"  never: {name}")
    if coverage:
        for name in sorted(tally.succeeded.keys() | tally.failed.keys()):
            print(
                f"  {name}: {tally.succeeded[name]} of {tally.succeeded[name] + tally.failed[name]}"
            )


if __name__ == "__main__":
    sys.exit(main())

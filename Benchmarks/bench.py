#!/usr/bin/env python3
"""Measures the fabric and its peers in one run, prints a table and writes bench.json.

bench.py --bin DIRECTORY [--only ID] [--output FILE] [--list]

DIRECTORY holds forge, forged, attach-bench, policy-bench, floor, connections and lookups, built with optimisation.
Everything happens in a lab: network, process and mount namespaces of its own, in which the fabric is an ordinary user's.
The exit status is 0 when every row holds.
"""

import argparse
import os
import sys

from harness import lab, report
from harness.rows import ROWS


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", default=".build/optimised/release")
    parser.add_argument("--only", default="", help="the id of one row")
    parser.add_argument("--output", default="bench.json")
    parser.add_argument("--list", action="store_true", help="prints the ids")
    options = parser.parse_args()

    if options.list:
        print("\n".join(row.id for row in ROWS))
        return 0
    rows = [row for row in ROWS if options.only in ("", row.id)]
    if not rows:
        print(f"bench: no row is called '{options.only}'; there are: {', '.join(row.id for row in ROWS)}",
              file=sys.stderr)
        return 2
    for program in lab.PROGRAMS:
        if not os.access(os.path.join(options.bin, program), os.X_OK):
            print(f"bench: {options.bin}/{program} is not built (make bench builds it)", file=sys.stderr)
            return 2
    if not lab.inside():
        return lab.enter(os.path.abspath(options.bin), os.path.abspath(options.output), options.only)

    results = []
    with lab.Lab(os.path.abspath(options.bin)) as place:
        for row in rows:
            print(f"bench: {row.id} ...", file=sys.stderr, flush=True)
            results.append(report.measure(row, place))
    report.table(results, rows)
    report.write(results, options.output)
    return 0 if all(result["holds"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The benchmarks' harness: a lab, the peers, the rows and their report."""

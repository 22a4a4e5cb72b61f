"""The agent beside its peers: one run, one table of ratios. `make bench`; see docs/benchmarks.md."""

"""The benchmarks are programs too: their arithmetic, and that each of them still runs."""

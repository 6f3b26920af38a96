"""Side-by-side measurements, one script per claim: `python -m benchmarks.NAME`; the last line printed is JSON."""

"""Others that do what the service does, as the benchmarks run them beside it."""

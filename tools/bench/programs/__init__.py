"""User-mode programs that the benchmarks run; they know the runtime alone, as any server does."""

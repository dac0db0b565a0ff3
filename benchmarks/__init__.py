"""Benchmarks of the budgets: our time, the limit measured in the same run, and the ratio. `./dev bench` runs them."""

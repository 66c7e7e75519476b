"""How fast and how large: models beside plain baselines, and micro-benchmarks of single parts."""

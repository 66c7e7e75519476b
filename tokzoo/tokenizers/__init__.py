"""One folder per published system: its sizes, its wiring of the shared parts, its weights and key rules."""

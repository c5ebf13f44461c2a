"""Whole sidecars in virtual time: seeded, deterministic, with faults at every step."""

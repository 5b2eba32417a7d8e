"""Boosts and adaptations as jobs: requested, leased, run, stored."""

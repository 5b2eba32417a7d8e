"""The machine: what audits need of it, its devices, its metrics."""

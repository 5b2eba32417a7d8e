"""Reproduction of a paper's experiments: trainings and measurements that resume, and a verdict for each claim."""

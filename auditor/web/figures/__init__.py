"""Figures as typed contexts: what a template draws as inline SVG, with nothing left to compute."""

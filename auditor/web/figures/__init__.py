"""Figures as typed contexts with all coordinates computed; templates draw them as inline SVG."""

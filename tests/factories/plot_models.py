"""Models of a zoo plot."""

from hypothesis import strategies as st

from auditor.records.results import PlotModel


def plot_model(number: int, x: float, y: float, **changes: object) -> PlotModel:
    values: dict = {
        "id": number, "model": f"demo:m{number}", "source": "demo", "architecture": "net",
        "training": {"method": "at"}, "flags": [], "x": x, "y": y,
    }  # fmt: skip
    return PlotModel(**values | changes)


SHARES = st.floats(0, 1)
ZOOS = st.lists(st.tuples(SHARES, SHARES, st.text(min_size=1, max_size=60)), min_size=1, max_size=60)
"""Values of models from 0 to 1, and names."""

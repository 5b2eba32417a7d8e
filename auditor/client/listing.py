"""Lists that the server answers in pages, as rows or as a data frame."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Struct, structs

from auditor.errors import EnvironmentUnusableError, UsageError

if TYPE_CHECKING:
    import pandas
    import polars

Row = TypeVar("Row", bound=Struct)
PageReader = Callable[[str | None, int], tuple[list[Row], str | None]]
LARGEST_PAGE = 500


class Listing(Generic[Row]):
    """The rows of a list, in the server's order. Iterating reads page by page; iterating again reads again.

    Args:
        row_type: the type of the rows.
        read_page: reads a page from a cursor (None for the first) and its size, and returns its rows and the cursor
            of the next page, None after the last.
        limit: the maximum number of rows; None for all.
    """

    def __init__(self, row_type: type[Row], read_page: PageReader[Row], limit: int | None = None) -> None:
        if limit is not None and limit < 1:
            raise UsageError(f"limit: expected 1 or more, got {limit}")
        self._row_type, self._read_page, self._limit = row_type, read_page, limit

    def __iter__(self) -> Iterator[Row]:
        cursor, left = None, self._limit
        while True:
            size = LARGEST_PAGE if left is None else min(LARGEST_PAGE, left)
            rows, cursor = self._read_page(cursor, size)
            yield from rows
            left = None if left is None else left - len(rows)
            if cursor is None or left == 0:
                return

    def to_pandas(self) -> "pandas.DataFrame":
        """Read all rows into a pandas DataFrame: one column a field, times in UTC.

        Raises:
            EnvironmentUnusableError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise _missing("pandas") from error
        return pandas.DataFrame(self._to_dicts(), columns=self._columns())

    def to_polars(self) -> "polars.DataFrame":
        """Read all rows into a polars DataFrame: one column a field, times in UTC; objects are structs.

        Raises:
            EnvironmentUnusableError: polars is not installed.
        """
        try:
            import polars
        except ImportError as error:
            raise _missing("polars") from error
        rows = self._to_dicts()
        columns = {name: [row[name] for row in rows] for name in self._columns()}
        return polars.DataFrame([polars.Series(name, values, strict=False) for name, values in columns.items()])

    def _columns(self) -> list[str]:
        return [field.name for field in structs.fields(self._row_type)]

    def _to_dicts(self) -> list[dict[str, Any]]:
        return [msgspec.to_builtins(row, builtin_types=(datetime,)) for row in self]


def _missing(package: str) -> EnvironmentUnusableError:
    return EnvironmentUnusableError(f"{package} is not installed; run `pip install {package}`")

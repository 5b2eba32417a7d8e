"""Parts of the page and of the report of one audit."""

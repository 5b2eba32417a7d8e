"""What commands print: tables, progress, and details of one result."""

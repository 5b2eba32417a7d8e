"""Who may do what, and which requests the server refuses: tokens, host names, forms of other sites, limits."""

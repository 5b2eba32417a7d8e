"""What results amount to: grouped, ranked, compared, correlated. The command line, pages and reports say the same."""

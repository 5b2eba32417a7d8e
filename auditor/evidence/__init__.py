"""Results as files that stand alone, and their verification without a database or a model."""

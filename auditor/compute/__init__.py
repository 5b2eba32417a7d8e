"""What measurements share: batches that fit into memory, and seeded generators."""

"""A job from claim to stored row: lease, attempts, child process, queue, reaper."""

"""Real processes on a scratch root: killed, starved of disk, fed nonsense."""

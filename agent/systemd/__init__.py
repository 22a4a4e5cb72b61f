"""What the agent says to systemd and asks of it. Nothing here is heavy before it is used."""

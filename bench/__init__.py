"""What the service does in a second, beside what this machine could do at best; see README.md."""

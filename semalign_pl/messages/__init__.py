"""Messages to the user: one line per mistake, safe to print on every terminal."""

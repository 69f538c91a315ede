"""Messages to the user: one line per mistake, safe on every terminal."""

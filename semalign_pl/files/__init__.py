"""Files: whole or not at all, within limits, and what their errors mean."""

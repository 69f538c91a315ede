"""Studies: train, test and compare several systems with one command; a system may start from another's adapter."""

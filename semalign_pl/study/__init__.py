"""A study: systems that start from one another, trained, tested and reported side by side in one run."""

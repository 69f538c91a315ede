"""Data that the recipes in ``configs/real`` read: public data sets with licence and checksum, and a sample."""

"""semalign-pl: teach a language model a low-resource language without making it worse at everything else."""

__version__ = "0.1.0"

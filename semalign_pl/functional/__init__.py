"""Pure tensor functions: no Lightning, no Hugging Face, no state."""

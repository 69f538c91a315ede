"""The paper's protocol as one run: base, cold start, strong SFT and semantic GRPO, side by side."""

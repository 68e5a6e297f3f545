"""The audit of an article: its claims decided by evaluation, its network walked step by step."""

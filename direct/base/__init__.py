"""How the shipped miniature pipeline came to be: `python -m direct.base` trains it from nothing."""

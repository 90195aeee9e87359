"""The gallery tab."""

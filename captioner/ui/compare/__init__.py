"""Comparisons on the page: a dialog to make them, to vote blind, and to use the winner."""

"""Statistics of the captions of a set: words, phrases, lengths, what never changes and what contradicts itself."""

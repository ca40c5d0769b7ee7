"""The page of a collection that is searched by words: `trainer.search.serve` starts it."""

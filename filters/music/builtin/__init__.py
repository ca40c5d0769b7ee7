"""The detector that comes with the project: features, weights, and how they were trained on synthesised sound."""

NAME = "builtin"

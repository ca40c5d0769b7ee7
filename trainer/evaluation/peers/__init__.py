"""Models of others behind the contract of trainer/evaluation/model.py, so that they can be compared and used."""

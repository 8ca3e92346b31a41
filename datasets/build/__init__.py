"""`python -m datasets.build`: scan a survey, make the stamps, pack the dataset."""

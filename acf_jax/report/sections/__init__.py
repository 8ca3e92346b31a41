"""The report's sections: each a file, or a folder where it takes several."""

"""`python -m datasets.show`: a star's detections on their way to its stamp."""

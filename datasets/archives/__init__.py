"""The surveys, one file each, and the interface that they and the mock sky meet."""

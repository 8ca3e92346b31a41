"""Command lines: of a clone's train.py, evaluate.py and predict.py, and of acf-train, acf-evaluate and acf-predict.

What also needs the package `datasets` is passed in by the scripts of the clone, since `datasets` is not installed.
"""

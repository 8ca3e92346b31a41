"""A table as somebody wrote it -> the columns needed, tidied."""

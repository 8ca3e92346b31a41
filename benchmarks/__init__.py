"""How fast the parts are: `python -m benchmarks.<part>`; `--json` ends with one JSON object on the last line."""

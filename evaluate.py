"""Evaluate a trained network: `python evaluate.py --help`."""

import sys

from acf_jax.commands.evaluate import OfClone
from acf_jax.commands.starting import start
from acf_jax.errors import ACFError


def mock_survey(*arguments):
    """Writes a mock survey's table, as `write_mock_table` does."""
    from datasets.mock_sky.spectroscopic_surveys import write_mock_table

    write_mock_table(*arguments)


def figure_2(folder, object_id):
    """Fig. 2 of a star of a dataset."""
    from datasets.show.__main__ import ShowError, figure_2_of

    try:
        return figure_2_of(folder, object_id)
    except ShowError as error:
        raise ACFError(str(error)) from error


def main(arguments=None):
    """Run the command line; returns the exit status."""
    of_clone = OfClone(mock_survey, figure_2)
    return start("evaluate", "evaluate.py", arguments=arguments, of_clone=of_clone)


if __name__ == "__main__":
    sys.exit(main())

"""Make a catalogue of atmospheric parameters: `python predict.py --help`."""

import sys

from acf_jax.commands.starting import start
from acf_jax.errors import ACFError


def prepare_stars(config, folder, stamps, *, seed, workers, **sources):
    """The stars of a table as a dataset, whose folder is returned; if none has a stamp, the table of the reasons.

    `stamps` says how the stamps are made: as those that the network was trained on.
    """
    from datasets.build.packing import BuildError, NoStampError
    from datasets.build.parts import Choices
    from datasets.build.prepare import build
    from datasets.surveys.base import Sources

    try:
        return build(
            config, data_dir=folder, seed=seed, workers=workers, sources=Sources(**sources), choices=Choices(**stamps)
        )
    except NoStampError as error:
        return error.rejected
    except BuildError as error:
        raise ACFError(str(error)) from error


def main(arguments=None):
    """Run the command line; returns the exit status."""
    return start("predict", "predict.py", arguments=arguments, prepare_stars=prepare_stars)


if __name__ == "__main__":
    sys.exit(main())

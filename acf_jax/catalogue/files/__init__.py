"""The files of a catalogue: shards in, whole files of seven formats out, and all of them read in batches."""

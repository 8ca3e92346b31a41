"""The files of a catalogue: shards are read, whole files of seven formats written, and these read in batches."""

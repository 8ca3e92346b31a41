"""The paper's Figs. 14, 15 and 16 from a catalogue of any length."""

"""What is fitted to stars that a network was not trained on: calibrated errors, and for which stars they hold."""

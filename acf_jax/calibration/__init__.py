"""What is fitted to stars that a network was not trained on: honest errors, and where they hold."""

"""Which stars belong to a sample, which are drawn from it, and which are the same star."""

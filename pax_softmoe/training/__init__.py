"""How a model is trained: optimizer, task, Pax' train program, and its log."""

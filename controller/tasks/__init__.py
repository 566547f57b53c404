"""One module per task: a task is `validate`, which the experiment models do, and `run`."""

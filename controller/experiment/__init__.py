"""What an experiment is: from values and YAML to checked, frozen tasks, with every mistake told at once."""

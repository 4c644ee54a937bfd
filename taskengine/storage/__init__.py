"""Where media lives: storages by name, the jobs' workspace and the tasks' scratch directories."""

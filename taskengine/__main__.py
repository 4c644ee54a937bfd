"""`python -m taskengine`: the same as the console script `taskengine`."""

from taskengine.cli import main

if __name__ == "__main__":
    main()

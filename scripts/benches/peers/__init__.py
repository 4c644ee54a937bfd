"""The peers, each as its own documentation has it: an application for its workers, and a client as a program.

They run in an environment of their own (`.venv-peers`), which nothing else needs. A client's command line is
`<module> <chains> [<seconds between two>]`: it submits, says so in a line, waits for the last result and prints, for each
chain, when each of its steps ran (seconds since the epoch).
"""
